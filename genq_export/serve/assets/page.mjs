// The page: enters with the link's token, checks the model on this device, and tries a picture.

import { latency, numbers, open } from "./compare.mjs";
import { enter, get, send, withKey } from "./host.mjs";
import { draw } from "./outputs.mjs";
import { numbersOf, pixelsOf } from "./picture.mjs";
import { fetched, named, openRuntime, threads, withRoom } from "./runtime.mjs";
import { sha256 } from "./sha256.mjs";
import { show, showResult, table, verdict } from "./show.mjs";
import { besideWebAssembly } from "./webgpu.mjs";

const RUNS = 20, element = (id) => document.getElementById(id), buttons = ["start", "send", "gpu", "camera", "file"].map(element);
let build = null, model = null, unsent = null, hiddenSince = null, hiddenSeconds = 0;

async function load(say) { // once: both tries need it
  if (model) return model;
  say("Loading the runtime");
  const ort = await openRuntime(new URL("ort/", location.href), "The host does not give onnxruntime-web: start genq-export serve again and open its new link");
  say(`Loading the model (${(build.bytes / 1e6).toFixed(1)} MB)`);
  const gone = (name) => `${name} cannot be loaded: start genq-export serve again and open its new link`;
  const [file, probes] = await Promise.all(["model.onnx", "probes.bin"].map((name) => fetched(name, gone(name), withKey())));
  const sessions = await withRoom(open(ort, { model: file, probes }, build.session, { threads: threads(), providers: ["wasm"] }), file.length, "model.onnx");
  return (model = { ort, sha256: sha256(file), ...sessions });
}

async function check(say) {
  const { ort, plain, probed, timed, sha256: digest } = await load(say), { asked, data } = await questions(), images = [];
  hiddenSeconds = 0;
  for (let image = 0; image < asked.images; image++) {
    say(`image ${image + 1} of ${asked.images}`);
    images.push(await answered(asked, plain, probed, { [asked.input]: numbers(ort, asked, data, image) }));
  }
  const latency_ms = await latency(timed, { [asked.input]: numbers(ort, asked, data, 0) }, RUNS, say);
  return { format: 1, questions: asked.questions, model: digest, runtime: named(ort), threads: threads(), latency_ms, hidden_seconds: hiddenSeconds + sinceHidden(), images };
}

async function questions() {
  const asked = await get("questions");
  return { asked, data: Uint8Array.from(atob(asked.data), (sign) => sign.charCodeAt(0)) };
}

async function tryWebGpu(say) {
  const { ort, plain } = await load(say), { asked, data } = await questions();
  const file = await fetched("model.onnx", "model.onnx cannot be loaded", withKey());
  const figures = await besideWebAssembly(new URL("ort/", location.href), file, { entries: build.session, asked, data, plain, wasm: ort, runs: RUNS }, say);
  element("gpu-says").hidden = true;
  table("gpu-figures", figures);
}

async function answered(asked, plain, probed, feed) {
  const names = asked.outputs.map((output) => output.name), tensors = asked.quantizers.map((item) => item.tensor);
  const found = await plain.run(feed, names), watched = await probed.run(feed, [...names, ...tensors]);
  let moved = 0;
  for (const name of names) found[name].data.forEach((value, i) => { moved = Math.max(moved, Math.abs(value - watched[name].data[i]) || 0); });
  const codes = asked.quantizers.map(({ name, tensor, step, kept }) => {
    const all = bytes(watched[tensor].data);
    return [name, { dtype: watched[tensor].type, sha256: sha256(all), kept: base64(Uint8Array.from({ length: kept }, (_, i) => all[i * step])) }];
  });
  return { moved, outputs: Object.fromEntries(names.map((name) => [name, base64(bytes(found[name].data))])), codes: Object.fromEntries(codes) };
}

async function deliver(say) {
  say("Comparing");
  const result = await send(unsent, say), host = build.host;
  unsent = null;
  show("again").hidden = true;
  showResult(result, host && { "The host's time of a call": `${host.median_ms.toFixed(2)} ms (${host.runtime}, ${host.threads} thread${host.threads > 1 ? "s" : ""}, ${host.machine})` });
}

async function tryPicture(file, say) {
  const { ort, plain } = await load(say), steps = build.picture, canvas = element("preview");
  const rgba = await pixelsOf(file, steps, canvas);
  canvas.hidden = false;
  const tensor = new ort.Tensor("float32", numbersOf(rgba, steps), [1, ...steps.size]);
  const found = await plain.run({ [build.input]: tensor });
  element("picture-says").hidden = true;
  draw(element("answers"), build.outputs, found, build.detection, canvas);
}

// One thing at a time, and what goes wrong as one line in its place.
async function doing(id, work) {
  buttons.forEach((button) => { button.disabled = true; });
  const lock = await navigator.wakeLock?.request("screen").catch(() => null);
  try { await work((text) => verdict(`${text} …`, "", id)); } catch (error) { verdict(error.message, "bad", id); }
  buttons.forEach((button) => { button.disabled = false; });
  element("again").hidden = unsent === null;
  lock?.release();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenSince = performance.now();
  else { hiddenSeconds += sinceHidden(); hiddenSince = null; }
});
element("start").onclick = () => doing("verdict", async (say) => { unsent = await check(say); await deliver(say); });
element("gpu").onclick = () => doing("gpu-says", tryWebGpu);
element("send").onclick = () => doing("verdict", deliver);
for (const id of ["camera", "file"]) element(id).onchange = ({ target }) => {
  const file = target.files[0];
  target.value = "";
  if (file) doing("picture-says", (say) => tryPicture(file, say));
};

doing("verdict", async () => {
  await enter();
  build = await get("build");
  element("title").textContent = `Does this device compute ${build.title}?`;
  document.title = build.title;
  element("webgpu").hidden = !build.webgpu;
}).then(() => { if (!build) buttons.forEach((button) => { button.disabled = true; }); });

const sinceHidden = () => (hiddenSince === null ? 0 : (performance.now() - hiddenSince) / 1000);
const bytes = (values) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
function base64(content) {
  let text = "";
  for (let at = 0; at < content.length; at += 0x8000) text += String.fromCharCode(...content.subarray(at, at + 0x8000));
  return btoa(text);
}
