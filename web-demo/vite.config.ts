// The page is built to dist/: hashed files in app/, the assets and the model as they are, and sw.js at the root with the
// list of what the page needs to start offline. All addresses are relative: the folder can be served from anywhere.

import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { defineConfig, type Plugin } from "vite";

/** Files above this size are not fetched when the service worker installs, but kept when they are first asked for. */
const LARGEST_SHELL_FILE_BYTES = 4 * 1024 * 1024;

/** Writes the names of the built files, and a version made of them and their content, into the service worker. */
function serviceWorkerFiles(): Plugin {
  return {
    name: "service-worker-files",
    apply: "build",
    enforce: "post",
    generateBundle(_options, bundle) {
      const worker = bundle["sw.js"];
      if (worker?.type !== "chunk") {
        throw new Error("the build has no sw.js");
      }
      const version = createHash("sha256");
      const files: string[] = [];
      for (const [name, output] of Object.entries(bundle).sort(([a], [b]) => (a < b ? -1 : 1))) {
        if (name === "sw.js" || name.endsWith(".map")) {
          continue;
        }
        const content = output.type === "chunk" ? output.code : output.source;
        version.update(name).update(content);
        if (name !== "index.html" && Buffer.byteLength(content) <= LARGEST_SHELL_FILE_BYTES) {
          files.push(`./${name}`);
        }
      }
      worker.code = worker.code
        .replace("__SHELL_FILES__", JSON.stringify(["./", "./icon.svg", ...files]))
        .replace("__SHELL_VERSION__", JSON.stringify(version.digest("hex").slice(0, 12)));
    },
  };
}

export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    assetsDir: "app",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1000,
    rolldownOptions: {
      input: { index: resolve(import.meta.dirname, "index.html"), sw: resolve(import.meta.dirname, "src/sw.ts") },
      output: { entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "app/[name]-[hash].js") },
    },
  },
  worker: { format: "es" },
  // Its worker and its .wasm are found relative to its own files: the dev server must not move it.
  optimizeDeps: { exclude: ["hyperspace-db", "onnxruntime-web"] },
  plugins: [serviceWorkerFiles()],
});
