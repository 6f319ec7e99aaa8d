// The tab opens the committed images of every format version: what manifest and segments hold, without the log.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { EmbeddedHyperspace } from "hyperspace-db/engine";
import { readImage } from "./image.mjs";
import { bound, plain } from "./sets.mjs";

const FIXTURES = fileURLToPath(new URL("../fixtures", import.meta.url));
const versions = readdirSync(FIXTURES).filter((name) => /^v\d+$/.test(name));

/** The collections of an image, each with the image of its folder. */
function collectionsOf(version) {
  const { collections } = JSON.parse(readFileSync(join(FIXTURES, version, "expected.json"), "utf8"));
  return collections.map((contents) => ({
    ...contents,
    image: readImage(join(FIXTURES, version, "data", "spaces", contents.space)),
  }));
}

test("there is an image", () => assert.ok(versions.includes("v1")));

for (const version of versions) {
  test(`the tab opens image ${version} and finds in it what was written`, async () => {
    const db = await EmbeddedHyperspace.open("formats");
    for (const { tenant, name, dimension, metric, sealed, image } of collectionsOf(version)) {
      // A tab serves one tenant: the collections of another one get a name of their own.
      const given = tenant === "default" ? name : `${name}-of-another`;
      await db.importCollection(given, image);
      const collection = await db.collection(given, { dimension, metric });
      const { points, pending, segments, tombstones, graphInsertions } = await collection.stats();
      assert.deepEqual([points, pending, graphInsertions], [sealed.points.length, 0, 0]);
      assert.deepEqual([segments.length, tombstones], [sealed.segments, sealed.tombstones]);
      for (const { id, vector, metadata } of sealed.points) {
        // JSON.parse has rounded the one id that is beyond 2^53.
        const point = await collection.get(id === 2 ** 64 ? 2n ** 64n - 1n : id);
        assert.deepEqual(point?.vector, Float32Array.from(vector), `${name}: ${id}`);
        assert.deepEqual(plain(point.metadata), metadata, `${name}: ${id}`);
      }
      for (const { query, filter, top_k, hits } of sealed.searches) {
        // JSON.parse has rounded the bound of this one, too.
        const asked = "big" in filter ? { big: { $gt: 2n ** 63n + 40n } } : filter;
        for (const exact of [true, false]) {
          const found = await collection.search({ vector: query, topK: top_k, filter: asked, exact });
          assert.deepEqual(
            found.map((hit) => plain(hit.id)),
            hits.map(([id]) => id),
          );
          found.forEach(({ distance }, at) => {
            const [, expected] = hits[at];
            assert.ok(Math.abs(distance - expected) <= bound(expected), `${name}: ${distance}, truth ${expected}`);
          });
        }
      }
    }
    await db.close();
  });
}

test("damage in an image is noticed in the tab wherever it is", async () => {
  const db = await EmbeddedHyperspace.open("formats");
  for (const { name, image } of versions.flatMap(collectionsOf)) {
    const files = [image.manifest, ...image.segments.map(({ bytes }) => bytes)];
    for (const file of files) {
      for (let at = 0; at < file.length; at += Math.ceil(file.length / 40)) {
        file[at] ^= 1 << (at % 8);
        const refused = (error) => ["corrupted", "unsupported"].includes(error.code);
        await assert.rejects(db.importCollection("damaged", image), refused, `${name}: byte ${at} of ${file.length}`);
        file[at] ^= 1 << (at % 8);
      }
    }
    await db.importCollection("mended", image);
    await db.deleteCollection("mended");
  }
  await db.close();
});

test("a later version is refused by its number", async () => {
  const db = await EmbeddedHyperspace.open("formats");
  const [{ image }] = collectionsOf("v1");
  image.manifest[4] += 1;
  const refused = { code: "unsupported", message: /manifest version 2; this build reads 1/ };
  await assert.rejects(db.importCollection("later", image), refused);
  await db.close();
});
