// A collection's folder in the server's data directory, as the image that the npm package imports.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Reads the manifest and the segments; in the order in which the manifest names them, as in an image of the package. */
export function readImage(folder) {
  const manifest = readFileSync(join(folder, "manifest"));
  const place = (id) => manifest.indexOf(Buffer.from(id, "hex"));
  const ids = readdirSync(folder).filter((file) => file !== "manifest");
  ids.sort((a, b) => place(a) - place(b));
  return { manifest, segments: ids.map((id) => ({ id, bytes: readFileSync(join(folder, id)) })) };
}
