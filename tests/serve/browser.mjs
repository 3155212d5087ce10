// Opens a page in headless Chromium, does what it is told, and prints JSON of what the page shows.
//
//     node browser.mjs '{"link": …, "steps": […], "init": "…", "flags": […], "shot": FILE, "dark": true}'
//
// Needs npm's playwright-core in the current folder or above it, and Chromium.

import { createRequire } from "node:module";

const { chromium } = createRequire(process.cwd() + "/")("playwright-core");
const { link, steps = ["check"], init = "", flags = [], shot, dark = false, picture, script, lose = 0, wait = 240000 } = JSON.parse(process.argv[2]);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", ...flags] });
const context = await browser.newContext({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, ignoreHTTPSErrors: true, colorScheme: dark ? "dark" : "light" });
const page = await context.newPage(), said = [];
page.on("console", (message) => said.push(message.text()));
page.on("pageerror", (error) => said.push(String(error)));
if (init) await page.addInitScript(init);
let lost = 0;
if (lose) await page.route("**/answer", async (route) => { // it arrives, and the reply is lost
  if (lost++ >= lose) return route.continue();
  await route.fetch();
  return route.abort();
});
await page.goto(link);

const ended = (id) => page.waitForFunction((id) => /verdict (good|bad)/.test(document.getElementById(id).className), id, { timeout: wait });
const actions = {
  start: async () => { await page.click("#start"); await ended("verdict"); },
  check: async () => {
    await page.waitForFunction(() => document.title !== "Check on this device" || /bad/.test(document.getElementById("verdict").className));
    if (await page.isEnabled("#start")) await page.click("#start");
    await ended("verdict");
  },
  picture: async () => {
    await page.setInputFiles("#file", picture);
    await page.waitForFunction(() => document.querySelector("#answers table") || /bad/.test(document.getElementById("picture-says").className), null, { timeout: wait });
  },
  gpu: async () => {
    await page.waitForSelector("#gpu", { state: "visible" });
    await page.waitForFunction(() => !document.getElementById("gpu").disabled);
    await page.click("#gpu");
    await page.waitForFunction(() => !document.getElementById("gpu-figures").hidden || /bad/.test(document.getElementById("gpu-says").className), null, { timeout: wait });
  },
  reload: () => page.reload(),
};
for (const step of steps) await actions[step]();
if (script) await page.evaluate(script);
const text = async (id) => ((await page.$(`#${id}`)) ? page.$eval(`#${id}`, (element) => (element.hidden ? "" : element.innerText)) : "");
const shown = { width: await page.evaluate(() => document.documentElement.scrollWidth), verdict: await text("verdict"), figures: await text("figures"), answers: await text("answers"), picture: await text("picture-says"), gpu: (await text("gpu-says")) + (await text("gpu-figures")),
  title: await page.title(), secure: await page.evaluate(() => isSecureContext), isolated: await page.evaluate(() => crossOriginIsolated), address: page.url(), said };
if (shot) await page.screenshot({ path: shot, fullPage: true });
console.log(JSON.stringify(shown));
await browser.close();
