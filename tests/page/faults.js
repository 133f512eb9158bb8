/*
 * faults.js owns: the tests of what a person sees when something is wrong, on the fake server.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname } from "node:path";
import { FakeServer } from "./fake-server.js";
import { pageUrl, until, untilPhase } from "./browser.js";
import { freePort } from "./program.js";
import { withFake, withPage } from "./session.js";
import { test } from "./suite.js";

/** Waits until what the page says under `id` matches: it is written a while after the state it tells of. */
const untilText = (page, id, wanted) =>
  until(
    page,
    `${wanted} in #${id}`,
    ([name, source]) => new RegExp(source).test(document.getElementById(name).innerText),
    [id, wanted.source],
  );
const count = (page, cause) => page.evaluate((name) => viewer.figures.gaps.get(name)?.count ?? 0, cause);

test("binary and events are asked for; a server that knows neither is read as text", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    assert.deepEqual(server.handshakes, ["?format=binary&events=1"]);
  });
  await withFake({ old: true }, async (page, server) => {
    await untilPhase(page, "live");
    assert.equal(server.handshakes.at(-1), "");
    await page.click("#start-audio");
    await until(page, "sound plays", () => viewer.heard !== null);
    await untilText(page, "f-sound", /^48000 Hz, mono$/);
    // A server that knows both is asked for both again: one refusal may have had another cause.
    server.old = false;
    for (const viewer of server.viewers) viewer.terminate();
    await until(page, "numbers and events again", () => viewer.link.ponged);
    assert.equal(server.handshakes.at(-1), "?format=binary&events=1");
  });
});

test("a server that is not there yet is found when it comes", async () => {
  const port = await freePort();
  await withPage({ port }, async (page) => {
    await untilPhase(page, "reconnecting");
    await untilText(page, "card", new RegExp(`Nothing answers at 127.0.0.1:${port}`));
    const server = await new FakeServer().listen(port);
    await untilPhase(page, "live");
    await server.close();
  });
});

test("a server that restarts is watched again, and the sound goes on", async () => {
  const port = await freePort();
  let server = await new FakeServer().listen(port);
  await withPage({ port }, async (page) => {
    await untilPhase(page, "live");
    await page.click("#start-audio");
    await until(page, "sound plays", () => viewer.heard !== null);
    await server.close();
    await untilPhase(page, "reconnecting");
    server = await new FakeServer().listen(port);
    await untilPhase(page, "live");
    await until(page, "sound plays again", () => viewer.heard !== null && viewer.sync.delay !== null);
  });
  await server.close();
});

test("a line that falls silent is left and tried again", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    await until(page, "pings answered", () => viewer.clock.best() !== null);
    server.mute = true;
    await until(page, "a new connection", () => viewer.linkState.reason === "silent", null, 30);
    server.mute = false;
    await untilPhase(page, "live");
  });
});

test("a camera that goes away is said with the time, and comes back by itself", async () => {
  await withFake({ message: "/dev/video0 is gone; waiting for it" }, async (page, server) => {
    await untilPhase(page, "live");
    server.video = false;
    server.event({ event: "source_lost", stream: "video" });
    await untilPhase(page, "lost");
    await untilText(page, "card-title", /No picture since \d\d:\d\d:\d\d/);
    await until(page, "the server's words", () => /video0 is gone/.test($("card-text").textContent));
    server.event({ event: "source_back", stream: "video" });
    server.event({ event: "gap", stream: "video", count: null, seconds: 2.5, cause: "source_away" });
    server.video = true;
    await untilPhase(page, "live");
    await until(page, "the absence", () => /device away.*2\.5 s/s.test($("f-gaps").innerText));
  });
});

test("a camera that stops without a word is noticed too", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    server.video = false;
    await untilPhase(page, "lost");
  });
});

test("no camera yet, and no camera at all, are told apart", async () => {
  await withFake({ video: false }, async (page) => {
    await untilPhase(page, "camera");
  });
  await withFake({ video: false, camera: false }, async (page) => {
    await untilPhase(page, "sound-only");
  });
});

test("missing frames are counted by cause, told or not", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    server.skipFrames(12, "viewer_queue");
    await until(page, "12 told", () => viewer.figures.gaps.get("viewer_queue")?.count === 12);
    server.skipFrames(5, null);
    await until(page, "5 untold", () => viewer.figures.gaps.get("unknown")?.count === 5);
    // A busy machine has causes of its own, before, between and after them.
    await untilText(page, "f-gaps", /network too slow\s*12\b/);
    await untilText(page, "f-gaps", /cause unknown\s*5\b/);
    assert.equal(await count(page, "viewer_queue"), 12);
  });
});

test("a clock that is set leaves picture and sound running, and the latency true", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    await page.click("#start-audio");
    await until(page, "in step", () => viewer.sync.delay !== null);
    server.stepClock(3600);
    await until(page, "the notice", () => /clock was set by \+3600/.test($("toast").textContent));
    await until(page, "the new offset", () => viewer.clockOffset() - (Date.now() - performance.now()) / 1000 > 3599);
    await until(page, "in step again", () => viewer.sync.delay !== null && viewer.picture.due !== null);
    const mark = await page.evaluate(() => viewer.picture.last.stamp);
    await until(page, "frames go on", (stamp) => viewer.picture.last.stamp > stamp + 1, mark);
    await until(page, "a sane latency", () => {
      const latency = viewer.figures.latency.quantile(performance.now() / 1000, 0.5);
      return latency > 0 && latency < 3;
    });
  });
});

test("a token is asked for, refused when wrong, and never kept where others read it", async () => {
  await withFake({ token: "s3cret" }, async (page) => {
    await untilPhase(page, "refused");
    await untilText(page, "card", /asks for a token/);
    await page.fill("#token", "wrong");
    await page.press("#token", "Enter");
    await until(page, "the refusal", () => /not accepted/.test($("card").innerText));
    await page.fill("#token", "s3cret");
    await page.click("#token-form button");
    await untilPhase(page, "live");
    assert.ok(!page.url().includes("s3cret"));
    assert.ok(!(await page.evaluate(() => JSON.stringify(localStorage))).includes("s3cret"));
    await page.reload();
    await untilPhase(page, "live");
  });
});

test("a token in the page's address works and leaves the address at once", async () => {
  for (const fragment of ["#token=s3cret", "&token=s3cret"]) {
    await withFake(
      { token: "s3cret" },
      async (page) => {
        await untilPhase(page, "live");
        assert.ok(!page.url().includes("s3cret"), page.url());
        const before = await page.evaluate(() => history.length);
        assert.ok(before <= 2, "the token's address stays in the history");
      },
      { fragment },
    );
  }
});

test("a token goes to the server it was given for, and to no other", async () => {
  const other = await new FakeServer().listen();
  const guarded = await new FakeServer({ token: "theirs" }).listen();
  const goTo = async (page, { port }, token) => {
    await page.click("#open-settings");
    await page.fill("#server", `127.0.0.1:${port}`);
    if (token !== undefined) await page.fill("#settings-token", token);
    await page.click("#settings-form button[type=submit]");
  };
  const liveOn = async (page, { port }) => {
    const wanted = `127.0.0.1:${port}`;
    const live = (label) => viewer.server.label === label && viewer.lastFrameAt !== null && viewer.phase === "live";
    await until(page, `the picture of ${wanted}`, live, wanted);
  };
  try {
    await withFake(
      { token: "s3cret" },
      async (page, server) => {
        await liveOn(page, server);
        await goTo(page, other);
        await liveOn(page, other);
        assert.deepEqual(other.handshakes, ["?format=binary&events=1"]);
        await goTo(page, guarded, "theirs");
        await liveOn(page, guarded);
        // Not touched, it still holds.
        await page.click("#open-settings");
        await page.click("#settings-form button[type=submit]");
        await liveOn(page, guarded);
        await goTo(page, guarded, "");
        await untilPhase(page, "refused");
        await goTo(page, { port: `${guarded.port}/?token=theirs` });
        await liveOn(page, guarded);
      },
      { fragment: "#token=s3cret" },
    );
  } finally {
    await other.close();
    await guarded.close();
  }
});

test("the settings name the server so that Connect leads to it again", async () => {
  for (const [server, named] of [["https://127.0.0.1:9", "https://127.0.0.1:9/"], ["127.0.0.1:9", "127.0.0.1:9"]]) {
    const url = pageUrl(0).replace(/server=.*/, `server=${server}`);
    await withPage({ url }, async (page) => {
      const before = await page.evaluate(() => viewer.server.base);
      await page.click("#open-settings");
      assert.equal(await page.inputValue("#server"), named);
      await page.click("#settings-form button[type=submit]");
      assert.equal(await page.evaluate(() => viewer.server.base), before);
    });
  }
});

test("a refused origin and a full server say so", async () => {
  await withFake({ status: 403 }, async (page, server) => {
    await untilPhase(page, "refused");
    await untilText(page, "card", /does not allow this page/);
    server.status = 0;
    await page.click("#retry");
    await untilPhase(page, "live");
  });
  await withFake({ status: 503 }, async (page, server) => {
    await untilPhase(page, "reconnecting");
    await until(page, "the reason", () => /no more viewers/.test($("card").innerText));
    server.status = 0;
    await untilPhase(page, "live");
  });
});

test("an undecodable picture is counted and the next one shown", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    // Again and again: on a busy machine one may give way to its successor, undecoded.
    const sender = setInterval(() => {
      const header = server.header("v", Date.now() / 1000);
      server.send(header, Buffer.from("no picture"), () => "");
    }, 100);
    await until(page, "the count", () => viewer.figures.gaps.get("undecodable")?.count >= 1).finally(() => clearInterval(sender));
    const stamp = await page.evaluate(() => viewer.picture.last.stamp);
    await until(page, "the next", (before) => viewer.picture.last.stamp > before, stamp);
  });
});

test("a burst of frames leaves no backlog", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    for (let i = 0; i < 300; i++) server.sendVideo(Date.now() / 1000 - 3 + i / 100);
    const newest = Date.now() / 1000 - 0.1;
    await until(page, "the newest", (stamp) => viewer.picture.last.stamp > stamp, newest);
    // The burst's last frames may still wait for their moment: what counts is that none of 300 stays.
    await until(page, "the end of the burst", () => viewer.picture.waiting.length + viewer.picture.ready.length <= 4);
  });
});

/** Serves public/, under /cam/ as well, with these headers; calls body(port). */
async function withServedPage(headers, body) {
  const types = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };
  const files = createServer((request, response) => {
    const name = request.url.split("?")[0].replace(/\/$/, "/index.html").replace(/^\/cam\//, "/");
    try {
      const bytes = readFileSync(new URL(`../../public${name}`, import.meta.url));
      response.writeHead(200, { "content-type": types[extname(name)], ...headers }).end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => files.listen(0, "127.0.0.1", done));
  try {
    await body(files.address().port);
  } finally {
    files.closeAllConnections();
    await new Promise((done) => files.close(done));
  }
}

test("at a plain http address in the network, sound plays without a worklet", async () => {
  const server = await new FakeServer({ channels: 2 }).listen();
  try {
    await withServedPage({}, async (port) => {
      await withPage({ url: `http://lan.test:${port}/cam/?server=lan.test:${server.port}` }, async (page) => {
        await untilPhase(page, "live");
        assert.equal(await page.evaluate(() => isSecureContext), false);
        await page.click("#start-audio");
        await until(page, "in step", () => viewer.sound.playout !== null && viewer.sync.delay !== null);
        await until(page, "the beep at the loudspeaker", () => {
          globalThis.ear ??= (() => {
            const ear = globalThis.toLoudspeaker.context.createAnalyser();
            globalThis.toLoudspeaker.connect(ear);
            return ear;
          })();
          const samples = new Float32Array(globalThis.ear.fftSize);
          globalThis.ear.getFloatTimeDomainData(samples);
          return samples.some((sample) => Math.abs(sample) > 0.1);
        });
      });
    });
  } finally {
    await server.close();
  }
});

test("served over http under a strict policy, the page works, sound included", async () => {
  // What a careful server would send with the page: no inline script or style, no data: or blob: script.
  const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src *";
  const server = await new FakeServer().listen();
  try {
    await withServedPage({ "content-security-policy": policy }, async (port) => {
      await withPage({ url: `http://127.0.0.1:${port}/?server=127.0.0.1:${server.port}` }, async (page) => {
        await untilPhase(page, "live");
        await page.click("#start-audio");
        await until(page, "in step", () => viewer.sound.playout !== null && viewer.sync.delay !== null);
      });
    });
  } finally {
    await server.close();
  }
});

test("the token of the server that served the page is not for one chosen at an earlier visit", async () => {
  const chosen = await new FakeServer().listen();
  const settings = { server: `127.0.0.1:${chosen.port}` };
  try {
    await withServedPage({}, async (port) => {
      await withPage({ url: `http://127.0.0.1:${port}/?token=s3cret`, settings }, async (page) => {
        await untilPhase(page, "live");
        assert.equal(await page.evaluate(() => viewer.server.label), settings.server);
        assert.deepEqual(chosen.handshakes, ["?format=binary&events=1"]);
      });
    });
  } finally {
    await chosen.close();
  }
});
