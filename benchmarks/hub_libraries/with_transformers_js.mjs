// Logits of a package in transformers.js: of tensors, and of pictures through the package's own processor.
// node with_transformers_js.mjs NODE_MODULES PACKAGE WORK COUNT SIZE [CLASSIFIER]
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { join, resolve } from "node:path";

const [modules, folder, work, count, size, pipe] = process.argv.slice(2);
const library = join(resolve(modules), "@huggingface/transformers/dist/transformers.node.mjs");
const { AutoImageProcessor, AutoModel, RawImage, Tensor, env, pipeline } = await import(pathToFileURL(library));
env.allowRemoteModels = false;
env.localModelPath = "/";
const model = await AutoModel.from_pretrained(resolve(folder));
const processor = await AutoImageProcessor.from_pretrained(resolve(folder));
const put = (name, rows) => writeFileSync(join(work, name), Buffer.concat(rows.map((row) => Buffer.from(new Uint8Array(row.buffer, row.byteOffset, row.byteLength)))));

const raw = readFileSync(join(work, "tensors.bin")), each = 3 * size * size;
const numbers = new Float32Array(raw.buffer, raw.byteOffset, raw.byteLength / 4), of_tensors = [];
for (let image = 0; image < count; image++) {
  const pixel_values = new Tensor("float32", numbers.slice(image * each, (image + 1) * each), [1, 3, +size, +size]);
  of_tensors.push((await model({ pixel_values })).logits.data);
}
const pixels = [], of_pictures = [], labels = [];
const classify = pipe ? await pipeline("image-classification", resolve(folder)) : null;
for (const name of readdirSync(join(work, "pictures")).sort()) {
  const picture = await RawImage.read(join(work, "pictures", name));
  const inputs = await processor(picture);
  pixels.push(inputs.pixel_values.data);
  of_pictures.push((await model(inputs)).logits.data);
  if (classify) labels.push((await classify(picture, { top_k: 1 }))[0].label);
}
put("js-logits.bin", of_tensors);
put("js-pixels.bin", pixels);
put("js-of-pictures.bin", of_pictures);
writeFileSync(join(work, "js-labels.json"), JSON.stringify(labels));
