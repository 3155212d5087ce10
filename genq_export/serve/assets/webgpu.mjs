// WebGPU shown as what it is: it computes the file's layers in float. So there is no verdict on codes, but how far its
// outputs lie from WebAssembly's on the same images, and the time of a call of either.

import { extra, latency, numbers } from "./compare.mjs";

const LIBRARY = "ort.webgpu.min.mjs";

// place: URL of onnxruntime-web's files; file: bytes of the model; plain: its session in WebAssembly, of the runtime `wasm`.
export async function besideWebAssembly(place, file, { entries, asked, data, plain, wasm, runs }, say) {
  if (!navigator.gpu || !(await navigator.gpu.requestAdapter().catch(() => null))) throw new Error("This browser has no WebGPU, or no GPU for it (a page over plain http never has)");
  say("Loading the runtime for WebGPU");
  const ort = await import(new URL(LIBRARY, place)).catch(() => { throw new Error(`The host does not give ${LIBRARY}: give it npm's whole package with --ort-web`); });
  Object.assign(ort.env.wasm, { wasmPaths: place.href, numThreads: 1 });
  const session = await ort.InferenceSession.create(file, { executionProviders: ["webgpu"], logSeverityLevel: 3, ...extra(entries) })
    .catch((error) => { throw new Error(`onnxruntime-web does not take this file on WebGPU; weights in 8 bits (--set export.int4_storage=false) may help (${String(error?.message ?? error).slice(-100)})`); });
  const names = asked.outputs.map((output) => output.name);
  let gap = 0, same = 0;
  for (let image = 0; image < asked.images; image++) {
    say(`image ${image + 1} of ${asked.images}`);
    const [here, there] = [await plain.run(feedOf(wasm, image), names), await session.run(feedOf(ort, image), names)];
    same += names.every((name) => highest(here[name].data) === highest(there[name].data));
    for (const name of names) here[name].data.forEach((value, i) => { gap = Math.max(gap, Math.abs(value - there[name].data[i]) || 0); });
  }
  const gpu = await latency({ deployed: session }, feedOf(ort, 0), runs, say), cpu = await latency({ deployed: plain }, feedOf(wasm, 0), runs, say);
  return { "WebGPU computes in": "float, not in the integers of the file", "Outputs differ from WebAssembly's by": gap.toPrecision(3), "Same highest output": `${same} of ${asked.images}`,
    "Time of a call": `${gpu.deployed.median.toFixed(2)} ms on WebGPU, ${cpu.deployed.median.toFixed(2)} ms in WebAssembly` };

  function feedOf(library, image) { return { [asked.input]: numbers(library, asked, data, image) }; }
}

const highest = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
