// Answers of a package in transformers.js: of tensors, and of pictures through the package's own processor and a pipeline.
// node with_transformers_js.mjs NODE_MODULES PACKAGE WORK COUNT HEIGHT WIDTH PIPELINE OUTPUT
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { join, resolve } from "node:path";

const [modules, folder, work, count, height, width, task, output] = process.argv.slice(2);
const library = join(resolve(modules), "@huggingface/transformers/dist/transformers.node.mjs");
const { AutoImageProcessor, AutoModel, RawImage, Tensor, env, pipeline } = await import(pathToFileURL(library));
env.allowRemoteModels = false;
env.localModelPath = "/";
const exact = { session_options: { extra: { session: { x64quantprecision: "1" } } } };  // as the package's card says
const model = await AutoModel.from_pretrained(resolve(folder), exact);
const processor = await AutoImageProcessor.from_pretrained(resolve(folder));
const bytes = (row) => Buffer.from(new Uint8Array(row.buffer, row.byteOffset, row.byteLength));
const put = (name, rows) => writeFileSync(join(work, name), Buffer.concat(rows.map(bytes)));

const raw = readFileSync(join(work, "tensors.bin")), each = 3 * height * width;
const numbers = new Float32Array(raw.buffer, raw.byteOffset, raw.byteLength / 4), of_tensors = [];
for (let image = 0; image < count; image++) {
  const pixel_values = new Tensor("float32", numbers.slice(image * each, (image + 1) * each), [1, 3, +height, +width]);
  of_tensors.push((await model({ pixel_values }))[output].data);
}

// A class, a map of classes, or a vector, as numbers.
const ids = Object.fromEntries(Object.entries(model.config.id2label ?? {}).map(([id, label]) => [label, +id]));
const piped = {
  "image-classification": async (run, picture) => Int32Array.of(ids[(await run(picture, { top_k: 1 }))[0].label]),
  "image-feature-extraction": async (run, picture) => (await run(picture)).data,
  "image-segmentation": async (run, picture) => {
    const found = new Uint8Array(picture.width * picture.height).fill(255);
    for (const { label, mask } of await run(picture)) mask.data.forEach((on, place) => { if (on) found[place] = ids[label]; });
    return found;
  },
}[task];
let run = null, refused = "";
try { run = await pipeline(task, resolve(folder), exact); } catch (error) { refused = String(error.message ?? error).split("\n")[0]; }

const pixels = [], of_pictures = [], answers = [];
for (const name of readdirSync(join(work, "pictures")).sort()) {
  const picture = await RawImage.read(join(work, "pictures", name));
  const inputs = await processor(picture);
  pixels.push(inputs.pixel_values.data);
  of_pictures.push((await model(inputs))[output].data);
  if (run) answers.push(await piped(run, picture));
}
put("js-of_tensors.bin", of_tensors);
put("js-pixels.bin", pixels);
put("js-of_pictures.bin", of_pictures);
put("js-piped.bin", answers);
writeFileSync(join(work, "js-refused.json"), JSON.stringify(refused));
