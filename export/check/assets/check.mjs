// Does model.onnx compute on this device what its integer model computes? Needs onnxruntime-node alone.
//
//     npm install onnxruntime-node
//     node check.mjs [MODEL] [--float FLOAT.onnx] [--threads 1] [--runs 20] [--output result.json]
//
// Exit code 0: the codes of every quantizer are the integer model's; 1: they are not.

import fs from "node:fs";
import os from "node:os";
import { createRequire } from "node:module";
import { check } from "./compare.mjs";

process.on("uncaughtException", (error) => { console.error(`cannot check: ${error.message}`); process.exit(1); });
const here = new URL(".", import.meta.url), options = { model: new URL("../model.onnx", here) }, given = process.argv.slice(2);
for (let i = 0; i < given.length; i++) if (given[i].startsWith("--")) options[given[i].slice(2)] = given[++i]; else options.model = given[i];
const require = createRequire(process.cwd() + "/"), ort = runtime(), read = (file) => new Uint8Array(fs.readFileSync(file));
const files = { model: read(options.model), golden: read(new URL("golden.json", here)), data: read(new URL("golden.bin", here)), probes: read(new URL("probes.bin", here)) };
if (options.float) files.float = read(options.float);
const result = await check(ort, files, { device: `${os.hostname()}, ${os.arch()} ${os.type()}`, runtime: `onnxruntime-node ${ort.env?.versions?.node ?? ""}`,
  threads: Number(options.threads ?? 1), runs: Number(options.runs ?? 20), providers: ["cpu"] });
for (const [name, value] of Object.entries(result)) console.log(`${name}: ${JSON.stringify(value)}`);
if (options.output) fs.writeFileSync(options.output, JSON.stringify(result, null, 1));

function runtime() {
  try { return require("onnxruntime-node"); } catch (error) {
    throw new Error(`${error.message.split("\n")[0]}: run \`npm install onnxruntime-node\` here, or start this in a folder that has it`);
  }
}
process.exitCode = result.verdict.startsWith("same") ? 0 : 1;
