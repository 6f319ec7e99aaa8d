// A server behind a proxy that sees what is asked, and can get in its way.

import { mkdtempSync } from "node:fs";
import { createServer, request as forward } from "node:http";
import { join } from "node:path";
import { startServer } from "../../scripts/server.mjs";

/** `follow: true` in a `PullRequest`. */
const FOLLOW = Buffer.from([0x18, 1]);

/**
 * Starts both; the server's data is in `data`, below a folder. `seen` has the methods that were called, `Segment` for a range
 * of one, and `ranges` these. `spoil` may answer instead of the server, `change` another body; of the method `lost` the next
 * answer is.
 */
export async function proxied(context, folder) {
  const data = mkdtempSync(join(folder, "data-"));
  const server = await startServer(data);
  const world = {
    url: "",
    direct: server.url,
    data,
    seen: [],
    ranges: [],
    spoil: () => false,
    change: (body) => body,
    lost: "",
  };
  const proxy = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    const method = methodOf(request.url, body);
    world.seen.push(method);
    if (method === "Segment") world.ranges.push(request.headers.range);
    if (world.spoil(method, response)) return;
    const isLost = method === world.lost;
    if (isLost) world.lost = "";
    const { method: verb, headers, url } = request;
    const onward = forward(new URL(url, server.url), { method: verb, headers }, async (answer) => {
      if (isLost) return response.destroy();
      response.writeHead(answer.statusCode, answer.headers);
      if (method === "Segment") response.end(world.change(Buffer.concat(await answer.toArray())));
      else answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    onward.end(body);
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  world.url = `http://127.0.0.1:${proxy.address().port}`;
  context.after(async () => {
    proxy.closeAllConnections();
    proxy.close();
    await server.kill();
  });
  return world;
}

function methodOf(url, body) {
  if (url.startsWith("/v1/segments/")) return "Segment";
  const isFollowing = url.endsWith("/Pull") && body.subarray(-2).equals(FOLLOW);
  return isFollowing ? "Follow" : url.split("/").at(-1);
}
