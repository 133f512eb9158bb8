/*
 * faults.js: tests of what the page shows on errors, with the fake server.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname } from "node:path";
import { FakeServer } from "./fake_server.js";
import { pageUrl, until, untilPhase } from "./browser.js";
import { freePort } from "./program.js";
import { withFake, withPage } from "./session.js";
import { test } from "./suite.js";

/** Waits until the text of `id` matches: it is updated some time after the state. */
const untilText = (page, id, wanted) =>
  until(
    page,
    `${wanted} in #${id}`,
    ([name, source]) => new RegExp(source).test(document.getElementById(name).innerText),
    [id, wanted.source],
  );
const count = (page, cause) => page.evaluate((name) => viewer.stats.gaps.get(name)?.count ?? 0, cause);

test("the page requests binary and events; an old server falls back to text", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    assert.deepEqual(server.handshakes, ["?format=binary&events=1"]);
  });
  await withFake({ old: true }, async (page, server) => {
    await untilPhase(page, "live");
    assert.equal(server.handshakes.at(-1), "");
    await page.click("#start-audio");
    await until(page, "audio plays", () => viewer.playback !== null);
    await untilText(page, "stat-audio", /^48000 Hz, mono$/);
    // The query is tried again: the refusal may have had another reason.
    server.old = false;
    for (const viewer of server.viewers) viewer.terminate();
    await until(page, "numbers and events again", () => viewer.ws.gotPong);
    assert.equal(server.handshakes.at(-1), "?format=binary&events=1");
  });
});

test("the page connects when the server starts", async () => {
  const port = await freePort();
  await withPage({ port }, async (page) => {
    await untilPhase(page, "reconnecting");
    await untilText(page, "card", new RegExp(`127.0.0.1:${port} does not respond`));
    const server = await new FakeServer().listen(port);
    await untilPhase(page, "live");
    await server.close();
  });
});

test("server restarted: video and audio resume", async () => {
  const port = await freePort();
  let server = await new FakeServer().listen(port);
  await withPage({ port }, async (page) => {
    await untilPhase(page, "live");
    await page.click("#start-audio");
    await until(page, "audio plays", () => viewer.playback !== null);
    await server.close();
    await untilPhase(page, "reconnecting");
    server = await new FakeServer().listen(port);
    await untilPhase(page, "live");
    await until(page, "audio plays again", () => viewer.playback !== null && viewer.sync.delay !== null);
  });
  await server.close();
});

test("a silent connection is closed and retried", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    await until(page, "pings answered", () => viewer.clock.best() !== null);
    server.mute = true;
    await until(page, "a new connection", () => viewer.wsState.reason === "silent", null, 30);
    server.mute = false;
    await untilPhase(page, "live");
  });
});

test("a lost camera is shown with the time; video resumes", async () => {
  await withFake({ message: "/dev/video0 is gone; waiting for it" }, async (page, server) => {
    await untilPhase(page, "live");
    server.video = false;
    server.event({ event: "source_lost", stream: "video" });
    await untilPhase(page, "lost");
    await untilText(page, "card-title", /No video since \d\d:\d\d:\d\d/);
    await until(page, "the server's words", () => /video0 is gone/.test($("card-text").textContent));
    server.event({ event: "source_back", stream: "video" });
    server.event({ event: "gap", stream: "video", count: null, seconds: 2.5, cause: "source_away" });
    server.video = true;
    await untilPhase(page, "live");
    await until(page, "the absence", () => /device disconnected.*2\.5 s/s.test($("stat-gaps").innerText));
  });
});

test("video that stops without an event counts as lost", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    server.video = false;
    await untilPhase(page, "lost");
  });
});

test("a missing camera and a server without camera are different phases", async () => {
  await withFake({ video: false }, async (page) => {
    await untilPhase(page, "camera");
  });
  await withFake({ video: false, camera: false }, async (page) => {
    await untilPhase(page, "audio-only");
  });
});

test("a camera that was never there is waited for, also after source_lost", async () => {
  await withFake({ video: false, audio: false, message: "no camera found" }, async (page, server) => {
    await untilPhase(page, "camera");
    server.event({ event: "source_lost", stream: "video" });
    await until(page, "the event", () => viewer.lost.video !== null);
    await untilText(page, "card", /Waiting for the camera\s+no camera found/);
    assert.equal(await page.evaluate(() => document.body.dataset.phase), "camera");
  });
});

test("a server without camera whose microphone is missing waits for the microphone", async () => {
  const server = { video: false, camera: false, audio: false, microphoneMessage: "microphone 0 not found" };
  await withFake(server, async (page, fake) => {
    await untilPhase(page, "microphone");
    await untilText(page, "card", /Waiting for the microphone\s+microphone 0 not found/);
    fake.audio = true;
    await untilPhase(page, "audio-only");
  });
});

test("a server that stops responding is not called a lost camera", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    await until(page, "pings answered", () => viewer.clock.best() !== null);
    await page.evaluate(() => {
      globalThis.phases = [];
      const show = viewer.onPhase;
      viewer.onPhase = (state) => {
        globalThis.phases.push(state.phase);
        show(state);
      };
    });
    server.mute = true;
    await untilPhase(page, "silent");
    await untilText(page, "card-title", /No response from 127\.0\.0\.1:\d+ since \d\d:\d\d:\d\d/);
    await untilPhase(page, "reconnecting");
    assert.ok(!(await page.evaluate(() => globalThis.phases)).includes("lost"));
  });
});

test("a lost connection is counted with its duration, and statistics show no old values", async () => {
  const port = await freePort();
  let server = await new FakeServer().listen(port);
  await withPage({ port }, async (page) => {
    await untilPhase(page, "live");
    await until(page, "statistics", () => /\d/.test($("stat-fps").textContent));
    await server.close();
    await untilPhase(page, "reconnecting");
    const shown = await page.evaluate(() => {
      showStats();
      return ["stat-fps", "stat-rate", "stat-latency"].map((id) => $(id).textContent);
    });
    assert.deepEqual(shown, ["–", "–", "–"]);
    server = await new FakeServer().listen(port);
    await untilPhase(page, "live");
    await untilText(page, "stat-gaps", /connection lost\s*1× \d+\.\d s/);
    const { seconds, times } = await page.evaluate(() => viewer.stats.gaps.get("connection"));
    assert.ok(times === 1 && seconds > 0.2 && seconds < 60, `${times}, ${seconds} s`);
  });
  await server.close();
});

test("before the first packet, statistics do not say that nothing was lost", async () => {
  await withFake({ deaf: true }, async (page) => {
    await untilPhase(page, "connecting");
    await untilText(page, "stat-gaps", /^–$/);
  });
});

test("the tab's title has the server and the state", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    assert.equal(await page.title(), `● 127.0.0.1:${server.port} – Live`);
    server.video = false;
    server.event({ event: "source_lost", stream: "video" });
    await untilPhase(page, "lost");
    assert.equal(await page.title(), `○ 127.0.0.1:${server.port} – Camera lost`);
  });
});

test("without a frame, snapshot and record are disabled", async () => {
  await withFake({ video: false, camera: false }, async (page) => {
    await untilPhase(page, "audio-only");
    assert.equal(await page.isDisabled("#snapshot"), true);
    assert.equal(await page.isDisabled("#record"), true);
  });
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    const disabled = () => ["snapshot", "record", "pause"].map((id) => $(id).disabled);
    await page.waitForFunction(() => !$("snapshot").disabled);
    assert.deepEqual(await page.evaluate(disabled), [false, false, false]);
    // The frame of another server is not to be saved for this one.
    const other = await new FakeServer({ deaf: true }).listen();
    await page.click("#open-server");
    await page.fill("#server", `127.0.0.1:${other.port}`);
    await page.click("#settings-form button[type=submit]");
    await untilPhase(page, "connecting");
    assert.deepEqual(await page.evaluate(disabled), [true, true, true]);
    await other.close();
  });
});

test("lost frames are counted by cause, with and without a gap event", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    server.skipFrames(12, "viewer_queue");
    await until(page, "12 told", () => viewer.stats.gaps.get("viewer_queue")?.count === 12);
    server.skipFrames(5, null);
    await until(page, "5 untold", () => viewer.stats.gaps.get("unknown")?.count === 5);
    // On a busy machine there are other causes as well.
    await untilText(page, "stat-gaps", /network too slow\s*12\b/);
    await untilText(page, "stat-gaps", /unknown cause\s*5\b/);
    assert.equal(await count(page, "viewer_queue"), 12);
  });
});

test("after a clock step video and audio go on, and the latency is right", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    await page.click("#start-audio");
    await until(page, "in sync", () => viewer.sync.delay !== null);
    server.stepClock(3600);
    await until(page, "the notice", () => /clock was changed by \+3600/.test($("toast").textContent));
    await until(page, "the new offset", () => viewer.clockOffset() - (Date.now() - performance.now()) / 1000 > 3599);
    await until(page, "in sync again", () => viewer.sync.delay !== null && viewer.canvasSink.due !== null);
    const mark = await page.evaluate(() => viewer.canvasSink.last.stamp);
    await until(page, "frames go on", (stamp) => viewer.canvasSink.last.stamp > stamp + 1, mark);
    await until(page, "a sane latency", () => {
      const latency = viewer.stats.latency.quantile(performance.now() / 1000, 0.5);
      return latency > 0 && latency < 3;
    });
  });
});

test("the page asks for a token, refuses a wrong one and does not store it for others", async () => {
  await withFake({ token: "s3cret" }, async (page) => {
    await untilPhase(page, "refused");
    await untilText(page, "card", /requires a token/);
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

test("a token in the page's address is used and removed from the address", async () => {
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

test("a token is sent only to the server it was entered for", async () => {
  const other = await new FakeServer().listen();
  const guarded = await new FakeServer({ token: "theirs" }).listen();
  const connectTo = async (page, { port }, token) => {
    await page.click("#open-settings");
    await page.fill("#server", `127.0.0.1:${port}`);
    if (token !== undefined) await page.fill("#settings-token", token);
    await page.click("#settings-form button[type=submit]");
  };
  const liveOn = async (page, { port }) => {
    const wanted = `127.0.0.1:${port}`;
    const live = (label) => viewer.server.label === label && viewer.lastFrameAt !== null && viewer.phase === "live";
    await until(page, `video from ${wanted}`, live, wanted);
  };
  try {
    await withFake(
      { token: "s3cret" },
      async (page, server) => {
        await liveOn(page, server);
        await connectTo(page, other);
        await liveOn(page, other);
        assert.deepEqual(other.handshakes, ["?format=binary&events=1"]);
        await connectTo(page, guarded, "theirs");
        await liveOn(page, guarded);
        // Unchanged, the token stays valid.
        await page.click("#open-settings");
        await page.click("#settings-form button[type=submit]");
        await liveOn(page, guarded);
        await connectTo(page, guarded, "");
        await untilPhase(page, "refused");
        await connectTo(page, { port: `${guarded.port}/?token=theirs` });
        await liveOn(page, guarded);
      },
      { fragment: "#token=s3cret" },
    );
  } finally {
    await other.close();
    await guarded.close();
  }
});

test("the server address in the settings leads to the same server", async () => {
  for (const [server, named] of [["https://127.0.0.1:9/", "https://127.0.0.1:9"], ["127.0.0.1:9", "127.0.0.1:9"]]) {
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

test("a refused origin and a full server are shown", async () => {
  await withFake({ status: 403 }, async (page, server) => {
    await untilPhase(page, "refused");
    await untilText(page, "card", /does not accept this page[\s\S]*--allow-public/);
    server.status = 0;
    await page.click("#retry");
    await untilPhase(page, "live");
  });
  await withFake({ status: 503 }, async (page, server) => {
    await untilPhase(page, "reconnecting");
    await until(page, "the reason", () => /no free viewer slots/.test($("card").innerText));
    server.status = 0;
    await untilPhase(page, "live");
  });
});

test("too many wrong tokens are named, and Retry-After is respected", async () => {
  await withFake(
    { status: 429, retryAfter: 3 },
    async (page, server) => {
      await untilPhase(page, "reconnecting");
      await untilText(page, "card", /too many wrong tokens/);
      const waitS = await page.evaluate(() => (viewer.wsState.until - performance.now()) / 1000);
      // Without Retry-After the first waits are below 0.6 s and 1.2 s.
      assert.ok(waitS > 1.3, `${waitS} s`);
      assert.deepEqual(server.handshakes.length, 1);
      server.status = 0;
      await untilPhase(page, "live");
    },
    { fragment: "#token=s3cret" },
  );
});

test("a refusal without CORS is recognised without sending the token again", async () => {
  // As a server that refuses this page's origin: no CORS headers.
  const seen = [];
  const server = createServer((request, response) => {
    seen.push(request.url);
    response.writeHead(403).end();
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  try {
    await withPage({ port: server.address().port, fragment: "#token=s3cret" }, async (page) => {
      await untilPhase(page, "refused");
      await untilText(page, "card", /does not accept this page/);
      const infos = seen.filter((url) => url.startsWith("/info"));
      assert.deepEqual(infos, ["/info?token=s3cret", "/info"]);
    });
  } finally {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
});

test("credentials of an invalid ?server= do not reach the page", async () => {
  const url = pageUrl(0).replace(/server=.*/, `server=${encodeURIComponent("ftp://admin:SECRET@cam/?token=SECRET")}`);
  await withPage({ url }, async (page) => {
    await untilPhase(page, "refused");
    await untilText(page, "card-text", /^ftp:\/\/cam\/$/);
    const report = await page.evaluate(() => JSON.stringify(buildReport(statsLog)));
    for (const text of [await page.title(), await page.content(), page.url(), report]) {
      assert.ok(!text.includes("SECRET"), text.slice(0, 200));
    }
  });
});

test("the page in a frame lets the page around it scroll until the video is zoomed", async () => {
  const server = await new FakeServer().listen();
  try {
    await withServedPage({}, async (port) => {
      await withPage({ url: `http://127.0.0.1:${port}/wire.js` }, async (page) => {
        const source = `http://127.0.0.1:${port}/?server=127.0.0.1:${server.port}`;
        await page.setContent(`<body style="height: 5000px"><iframe src="${source}" width="900" height="600"></iframe>`);
        const [, frame] = page.frames();
        await until(frame, "live", () => document.body.dataset.phase === "live");
        await page.mouse.move(300, 300);
        await page.mouse.wheel(0, 200);
        await until(page, "the page scrolled", () => scrollY > 0);
        assert.equal(await frame.evaluate(() => zoom.state.scale), 1);
        assert.equal(await frame.evaluate(() => getComputedStyle($("frame")).touchAction), "pan-x pan-y");
        const scrolled = await page.evaluate(() => scrollY);
        await frame.evaluate(() => zoom.zoomBy(2));
        await page.mouse.wheel(0, -100);
        await until(frame, "the video zoomed", () => zoom.state.scale > 2.2);
        assert.equal(await page.evaluate(() => scrollY), scrolled);
        assert.equal(await frame.evaluate(() => getComputedStyle($("frame")).touchAction), "none");
      });
    });
  } finally {
    await server.close();
  }
});

test("a browser without frame callbacks uses the WebSocket", async () => {
  await withFake(
    {},
    async (page, server, context) => {
      await context.addInitScript(() => delete HTMLVideoElement.prototype.requestVideoFrameCallback);
      await until(page, "the offer of a browser that has them", () => viewer.transport.failure === "absent");
      server.offers = 0;
      await page.reload();
      await untilPhase(page, "live");
      assert.equal(await page.evaluate(() => viewer.transport.failure), "unsupported");
      assert.equal(server.offers, 0);
    },
    { settings: { transport: "webrtc" } },
  );
});

test("an undecodable frame is counted and the next one is shown", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    // Repeatedly: on a busy machine a frame may be dropped before it is decoded.
    const sender = setInterval(() => {
      const header = server.header("v", Date.now() / 1000);
      server.send(header, Buffer.from("no JPEG"), () => "");
    }, 100);
    await until(page, "the count", () => viewer.stats.gaps.get("undecodable")?.count >= 1).finally(() => clearInterval(sender));
    const stamp = await page.evaluate(() => viewer.canvasSink.last.stamp);
    await until(page, "the next", (before) => viewer.canvasSink.last.stamp > before, stamp);
  });
});

test("a burst of frames leaves no backlog", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    for (let i = 0; i < 300; i++) server.sendVideo(Date.now() / 1000 - 3 + i / 100);
    const newest = Date.now() / 1000 - 0.1;
    await until(page, "the newest", (stamp) => viewer.canvasSink.last.stamp > stamp, newest);
    // The last frames of the burst may still be queued.
    await until(page, "the end of the burst", () => viewer.canvasSink.waiting.length + viewer.canvasSink.ready.length <= 4);
  });
});

/** Serves public/ at / and /cam/ with these headers; calls body(port). */
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

test("over plain http in a network, audio plays without a worklet", async () => {
  const server = await new FakeServer({ channels: 2 }).listen();
  try {
    await withServedPage({}, async (port) => {
      await withPage({ url: `http://lan.test:${port}/cam/?server=lan.test:${server.port}` }, async (page) => {
        await untilPhase(page, "live");
        assert.equal(await page.evaluate(() => isSecureContext), false);
        await page.click("#start-audio");
        await until(page, "in sync", () => viewer.audio.playout !== null && viewer.sync.delay !== null);
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

test("the page works under a strict Content-Security-Policy, including audio", async () => {
  // As a careful server would send: no inline script or style, no data: or blob: script.
  const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src *";
  const server = await new FakeServer().listen();
  try {
    await withServedPage({ "content-security-policy": policy }, async (port) => {
      await withPage({ url: `http://127.0.0.1:${port}/?server=127.0.0.1:${server.port}` }, async (page) => {
        await untilPhase(page, "live");
        await page.click("#start-audio");
        await until(page, "in sync", () => viewer.audio.playout !== null && viewer.sync.delay !== null);
      });
    });
  } finally {
    await server.close();
  }
});

test("a served page belongs to its own server; another one chosen there is in the address only", async () => {
  const other = await new FakeServer().listen();
  const settings = { server: `127.0.0.1:${other.port}` };
  const label = (page) => page.textContent("#server-label");
  try {
    await withServedPage({}, async (port) => {
      const url = `http://127.0.0.1:${port}/`;
      await withPage({ url: `${url}?token=s3cret`, settings }, async (page) => {
        await until(page, "a connection attempt", () => viewer.wsState.name === "waiting");
        assert.equal(await label(page), `127.0.0.1:${port}`);
        assert.deepEqual(other.handshakes, []);
        await page.click("#open-server");
        await page.fill("#server", settings.server);
        await page.click("#settings-form button[type=submit]");
        await untilPhase(page, "live");
        assert.deepEqual(other.handshakes, ["?format=binary&events=1"]);
        assert.equal(new URL(page.url()).searchParams.get("server"), settings.server);
        await page.reload();
        await untilPhase(page, "live");
        await page.goto(url);
        await until(page, "a connection attempt", () => viewer.wsState.name === "waiting");
        assert.equal(await label(page), `127.0.0.1:${port}`);
      });
    });
  } finally {
    await other.close();
  }
});

test("an invalid ?server= is shown, and no other server is opened", async () => {
  const remembered = await new FakeServer().listen();
  const settings = { server: `127.0.0.1:${remembered.port}` };
  try {
    for (const invalid of ["127.0.0.1:99999", "ftp://x", "127.0.0.1 25001"]) {
      const url = pageUrl(0).replace(/server=.*/, `server=${encodeURIComponent(invalid)}`);
      await withPage({ url, settings }, async (page) => {
        await untilPhase(page, "refused");
        await untilText(page, "card", /Invalid server address/);
        await untilText(page, "card-text", new RegExp(`^${invalid}$`));
        assert.deepEqual(remembered.handshakes, []);
        await page.click("#card-server");
        assert.equal(await page.inputValue("#server"), invalid);
        await page.fill("#server", settings.server);
        await page.click("#settings-form button[type=submit]");
        await untilPhase(page, "live");
      });
      remembered.handshakes = [];
    }
  } finally {
    await remembered.close();
  }
});

test("an https server that cannot be reached may have an untrusted certificate: the page links to it", async () => {
  const port = await freePort();
  const url = pageUrl(0).replace(/server=.*/, `server=https://127.0.0.1:${port}`);
  await withPage({ url }, async (page) => {
    await untilPhase(page, "reconnecting");
    await untilText(page, "card-text", /^Cannot connect to https:.*self-signed/);
    assert.equal(await page.getAttribute("#card-link", "href"), `https://127.0.0.1:${port}/info`);
    assert.equal(await page.isVisible("#card-link"), true);
    assert.equal(await page.textContent("#server-label"), `https://127.0.0.1:${port}`);
  });
});

test("another web server is recognised as not stampcast", async () => {
  await withFake({ status: 404 }, async (page, server) => {
    await untilText(page, "card-text", /responds but is not a stampcast server \(HTTP 404\)/);
    server.status = 0;
    await untilPhase(page, "live");
  });
});
