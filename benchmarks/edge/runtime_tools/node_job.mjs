// onnxruntime-node, or onnxruntime-web (WebAssembly) in Node: node node_job.mjs PACKAGE MODEL INPUTS.f32 LOGITS.f32 SHAPE
// SHAPE: of one image, "3,32,32". Raw float32 in and out, one image after the other; facts as JSON.

import fs from "node:fs";
import { createRequire } from "node:module";

const [name, model, inputs, logits, shape] = process.argv.slice(2), dims = shape.split(",").map(Number);
const require = createRequire(process.cwd() + "/"), ort = require(name);
if (name === "onnxruntime-web") ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync(model)), {
  executionProviders: [name === "onnxruntime-web" ? "wasm" : "cpu"], logSeverityLevel: 3, intraOpNumThreads: 1 });
const bytes = fs.readFileSync(inputs), all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4), size = dims.reduce((a, b) => a * b, 1);
const found = [];
for (let at = 0; at < all.length; at += size) {
  const { [session.outputNames[0]]: output } = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", all.slice(at, at + size), [1, ...dims]) });
  found.push(Buffer.from(new Uint8Array(output.data.buffer, output.data.byteOffset, output.data.byteLength)));
}
fs.writeFileSync(logits, Buffer.concat(found));
console.log(JSON.stringify({ version: JSON.parse(fs.readFileSync(new URL(`file://${process.cwd()}/node_modules/${name}/package.json`))).version, integer: null, layers: null }));
