// The check of a build by onnxruntime-web (WebAssembly) in Node: node web_check.mjs CHECK --runs 0 --output RESULT.json

import fs from "node:fs";
import os from "node:os";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, , runs, , output] = process.argv.slice(2), place = pathToFileURL(folder + "/");
const { check } = await import(new URL("compare.mjs", place));
const ort = createRequire(process.cwd() + "/")("onnxruntime-web"), read = (name) => new Uint8Array(fs.readFileSync(new URL(name, place)));
ort.env.wasm.numThreads = 1;
const files = { model: read("../model.onnx"), golden: read("golden.json"), data: read("golden.bin"), probes: read("probes.bin") };
const result = await check(ort, files, { device: `${os.hostname()}, ${os.arch()} ${os.type()}`, runtime: `onnxruntime-web ${ort.env.versions?.web ?? ""}`,
  runs: Number(runs), providers: ["wasm"] });
fs.writeFileSync(output, JSON.stringify(result));
process.exit(0);
