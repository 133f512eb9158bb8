/*
 * features.js: tests of the controls: saving, recording, settings, keys.
 */
import assert from "node:assert/strict";
import { until, untilPhase } from "./browser.js";
import { decode, download } from "./downloads.js";
import { SCREENS } from "./appearance_checks.js";
import { FakeServer } from "./fake_server.js";
import { withFake } from "./session.js";
import { test } from "./suite.js";

const PHONE = SCREENS.phone;
const setting = (page, name) => page.evaluate((key) => settings.get(key), name);

test("a new frame and its timestamp cause no layout", async () => {
  await withFake(
    {},
    async (page, server, context) => {
      await untilPhase(page, "live");
      const devtools = await context.newCDPSession(page);
      await devtools.send("Performance.enable");
      const layouts = async () => {
        const { metrics } = await devtools.send("Performance.getMetrics");
        return metrics.find(({ name }) => name === "LayoutCount").value;
      };
      const count = () => {
        globalThis.shown = 0;
        const show = viewer.onFrame;
        viewer.onFrame = (frame) => {
          globalThis.shown++;
          show(frame);
        };
      };
      await page.evaluate(count);
      await until(page, "the first frames", () => globalThis.shown > 10 && !$("stamp-overlay").hidden);
      const [before, shownBefore] = [await layouts(), await page.evaluate(() => globalThis.shown)];
      await until(page, "40 more frames", (shown) => globalThis.shown > shown + 40, shownBefore);
      const laidOut = (await layouts()) - before;
      // Level meter and statistics cause some layouts.
      assert.ok(laidOut < 20, `${laidOut} times for 40 frames`);
    },
    { settings: { stats: false } },
  );
});

test("a snapshot is the camera's JPEG, named by its stamp, or a PNG", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await page.evaluate(() => {
      const save = saveSnapshot;
      saveSnapshot = (still, format) => {
        globalThis.saved = { stamp: still.stampText, bytes: [...still.jpeg] };
        return save(still, format);
      };
    });
    const jpeg = await download(page, () => page.click("#snapshot"));
    const saved = await page.evaluate(() => globalThis.saved);
    assert.equal(jpeg.name, `stampcast-${saved.stamp}.jpg`);
    assert.ok(jpeg.bytes.equals(Buffer.from(saved.bytes)));
    await page.evaluate(() => settings.set("snapshot", "png"));
    const png = await download(page, () => page.keyboard.press("s"));
    assert.match(png.name, /^stampcast-\d+\.\d{6}\.png$/);
    assert.equal(png.bytes.toString("latin1", 1, 4), "PNG");
    assert.deepEqual([png.bytes.readUInt32BE(16), png.bytes.readUInt32BE(20)], [640, 480]);
  });
});

test("a recording has video and audio even if audio was not started", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await page.click("#record");
    await until(page, "two seconds", () => viewer.recording && viewer.recording.seconds() > 2 && viewer.playback !== null);
    assert.equal(await page.evaluate(() => viewer.audio.muted), true);
    const { name, bytes } = await download(page, () => page.click("#record"));
    assert.match(name, /^stampcast-\d+\.\d{6}\.(webm|mp4)$/);
    const heard = await decode(page, bytes);
    assert.equal(heard.width, 640);
    assert.ok(heard.seconds > 1 && heard.loudest > 0.2, JSON.stringify(heard));
    assert.equal(await page.evaluate(() => viewer.recording), null);
  });
});

test("without an audio device, Record records video only and audio can be started again", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    // As Firefox without an audio device.
    await page.evaluate(() => {
      AudioContext.prototype.resume = () => new Promise(() => {});
    });
    await page.click("#record");
    await until(page, "the message", () => $("toast").textContent === "No audio output found");
    await until(page, "a recording", () => viewer.recording && viewer.recording.seconds() > 1);
    assert.equal(await page.isVisible("#start-audio"), true);
    const { bytes } = await download(page, () => page.click("#record"));
    assert.ok(bytes.length > 1000, `${bytes.length} bytes`);
  });
});

test("two clicks on Record start one recorder", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    // "live" is from the arrival of the first frame on, which is decoded and drawn later.
    await until(page, "a frame", () => viewer.canvasSink.last !== null);
    await page.evaluate(() => {
      globalThis.recorders = [];
      const { start } = MediaRecorder.prototype;
      MediaRecorder.prototype.start = function begin(slice) {
        globalThis.recorders.push(this);
        return start.call(this, slice);
      };
      $("record").click();
      $("record").click();
    });
    await until(page, "half a second", () => viewer.recording && viewer.recording.seconds() > 0.5);
    await download(page, () => page.click("#record"));
    const states = await page.evaluate(() => globalThis.recorders.map((recorder) => recorder.state));
    assert.deepEqual(states, ["inactive"]);
  });
});

test("starting audio unmutes, also after an earlier mute or recording", async () => {
  const startIsHeard = async (page) => {
    await page.reload();
    await untilPhase(page, "live");
    await page.click("#start-audio");
    await until(page, "audio on", () => viewer.audio.state === "on");
    assert.equal(await page.evaluate(() => viewer.isAudible()), true);
    assert.equal(await page.getAttribute("#mute", "aria-label"), "Mute (M)");
  };
  await withFake({}, async (page) => {
    await startIsHeard(page);
    await page.keyboard.press("m");
    await until(page, "muted", () => viewer.audio.muted);
    await startIsHeard(page);
    await page.reload();
    await untilPhase(page, "live");
    await page.click("#record");
    await until(page, "a silent recording", () => viewer.recording !== null && viewer.audio.muted);
    await startIsHeard(page);
  });
});

test("without audio there is no start button; stamps are readable by programs", async () => {
  await withFake({ audio: false }, async (page) => {
    await untilPhase(page, "live");
    await until(page, "no button", () => $("start-audio").hidden);
    await until(page, "a stamp", () => /^\d\d:\d\d:\d\d\.\d{3} \d{10}\.\d{6}$/.test($("stamp").textContent));
  });
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await until(page, "the server's word", () => viewer.info !== null);
    assert.equal(await page.isVisible("#start-audio"), true);
  });
});

test("a volume of 0 counts as muted, and starting audio or unmuting raises it", async () => {
  const silent = (page) => page.evaluate(() => [$("mute").ariaLabel, viewer.isAudible(), viewer.audio.volume]);
  await withFake(
    {},
    async (page) => {
      await untilPhase(page, "live");
      await page.click("#start-audio");
      await until(page, "audio on", () => viewer.audio.state === "on");
      assert.deepEqual(await silent(page), ["Mute (M)", true, 0.5]);
      await page.focus("#volume");
      await page.keyboard.press("Home");
      assert.deepEqual(await silent(page), ["Unmute (M)", false, 0]);
      await page.click("#mute");
      assert.deepEqual(await silent(page), ["Mute (M)", true, 0.5]);
    },
    { settings: { volume: 0 } },
  );
});

test("arrow keys scroll the statistics; turning the volume down does not unmute", async () => {
  await withFake(
    {},
    async (page) => {
      await untilPhase(page, "live");
      await page.keyboard.press("m");
      await until(page, "audio on", () => viewer.audio.state === "on");
      await page.keyboard.press("m");
      await page.keyboard.press("i");
      await page.focus("#stats");
      await page.keyboard.press("ArrowDown");
      await until(page, "the statistics scrolled", () => $("stats").scrollTop > 0);
      await page.keyboard.press("ArrowUp");
      assert.equal(await setting(page, "volume"), 1);
      assert.equal(await page.evaluate(() => viewer.audio.muted), true);
      await page.keyboard.press("i");
      await page.keyboard.press("ArrowDown");
      assert.equal(await setting(page, "volume"), 0.95);
      assert.equal(await page.evaluate(() => viewer.audio.muted), true);
      await page.keyboard.press("ArrowUp");
      assert.equal(await page.evaluate(() => viewer.audio.muted), false);
    },
    { viewport: { width: 1280, height: 400 } },
  );
});

test("mute and record announce their state by name only, not also by aria-pressed", async () => {
  const names = (page) =>
    page.evaluate(() => ["mute", "record"].map((id) => [$(id).ariaLabel, $(id).hasAttribute("aria-pressed")]));
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await page.click("#start-audio");
    await until(page, "audio on", () => viewer.audio.state === "on");
    assert.deepEqual(await names(page), [["Mute (M)", false], ["Start recording (R)", false]]);
    await page.keyboard.press("m");
    await page.keyboard.press("r");
    await until(page, "a recording", () => viewer.recording !== null);
    assert.deepEqual(await names(page), [["Unmute (M)", false], ["Stop recording (R)", false]]);
  });
});

test("with audio on, frames are paced by it; muted, the newest is shown at once", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    assert.equal(await page.evaluate(() => viewer.canvasSink.due), null);
    await page.click("#start-audio");
    await until(page, "audio paces frames", () => viewer.canvasSink.due !== null);
    await page.keyboard.press("m");
    await until(page, "newest at once", () => viewer.canvasSink.due === null);
    assert.equal(await page.getAttribute("#mute", "aria-label"), "Unmute (M)");
    await page.keyboard.press("m");
    await until(page, "audio paces frames again", () => viewer.canvasSink.due !== null);
  });
});

test("the paused video stays, is reviewed frame by frame and by time, and goes on", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await until(page, "two seconds", () => viewer.history.frames.length > 30);
    await page.keyboard.press("Space");
    await page.waitForSelector("#review", { state: "visible" });
    const shown = () => page.evaluate(() => [viewer.canvasSink.last.stamp, $("stamp").textContent]);
    const [paused] = await shown();
    const received = await page.evaluate(() => viewer.lastFrameAt);
    await until(page, "more frames", (before) => viewer.lastFrameAt > before + 0.5, received);
    assert.equal((await shown())[0], paused);
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("ArrowLeft");
    const earlier = await page.evaluate(() => viewer.review.frame.stamp);
    await until(page, "an earlier frame", (stamp) => viewer.canvasSink.last.stamp === stamp, earlier);
    assert.ok(earlier < paused - 0.1, `${earlier} after ${paused}`);
    await until(page, "its stamp", () => $("stamp").textContent.endsWith(viewer.canvasSink.last.stampText));
    assert.equal(await page.textContent("#review-time"), await page.getAttribute("#review-position", "aria-valuetext"));
    await page.focus("#review-position");
    await page.keyboard.press("Home");
    await until(page, "the oldest frame", () => viewer.canvasSink.last === viewer.review.frames[0]);
    const { name, bytes } = await download(page, () => page.click("#snapshot"));
    const oldest = await page.evaluate(() => ({ ...viewer.review.frames[0], jpeg: [...viewer.review.frames[0].jpeg] }));
    assert.equal(name, `stampcast-${oldest.stampText}.jpg`);
    assert.ok(bytes.equals(Buffer.from(oldest.jpeg)));
    // Each step of the slider is a frame, and its right end is the newest.
    await page.focus("#review-position");
    await page.keyboard.press("ArrowRight");
    await until(page, "the second frame", () => viewer.canvasSink.last === viewer.review.frames[1]);
    await page.keyboard.press("End");
    await until(page, "the newest frame", () => viewer.canvasSink.last === viewer.review.frames.at(-1));
    assert.equal(await page.getAttribute("#review-position", "aria-valuetext"), "−0.00 s");
    await page.keyboard.press("ArrowLeft");
    await until(page, "the frame before it", () => viewer.canvasSink.last === viewer.review.frames.at(-2));
    await page.keyboard.press("ArrowRight");
    await until(page, "the newest frame again", () => viewer.canvasSink.last === viewer.review.frames.at(-1));
    await page.click("#resume");
    await until(page, "live frames", (stamp) => viewer.canvasSink.last.stamp > stamp + 0.5, paused);
    assert.equal(await page.isVisible("#review"), false);
  });
});

test("a clip of the last seconds is saved from the shown frame on, with audio", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await until(page, "two seconds", () => viewer.history.frames.length > 30);
    await page.keyboard.press("Space");
    await page.focus("#review-position");
    await page.keyboard.press("Home");
    const { frames, packets } = await page.evaluate(() => ({
      frames: viewer.review.frames.map(({ stampText }) => stampText),
      packets: viewer.review.packets.length,
    }));
    const { name, bytes } = await download(page, () => page.click("#save-clip"));
    assert.equal(name, `stampcast-${frames[0]}.mkv`);
    assert.equal(bytes.readUInt32BE(0), 0x1a45dfa3);
    // The start of each JPEG, and the samples of at least the audio between the frames.
    const images = bytes.toString("latin1").split("\xff\xd8\xff").length - 1;
    assert.equal(images, frames.length);
    assert.ok(packets > 50 && bytes.includes("A_PCM/INT/LIT"));
  });
});

test("the last frames of a lost camera can be reviewed", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    await until(page, "a second", () => viewer.history.frames.length > 15);
    server.video = false;
    server.event({ event: "source_lost", stream: "video" });
    await page.waitForSelector("#card", { state: "visible" });
    await page.click("#pause");
    await page.waitForSelector("#card", { state: "hidden" });
    await page.click("#previous-frame");
    await until(page, "the previous frame", () => viewer.canvasSink.last === viewer.review.frames.at(-2));
    await page.click("#resume");
    await page.waitForSelector("#card", { state: "visible" });
  });
});

test("a recording contains no paused video", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await page.keyboard.press("Space");
    await page.keyboard.press("r");
    await until(page, "a recording", () => viewer.recording !== null);
    assert.equal(await page.evaluate(() => viewer.paused), false);
    await page.keyboard.press("Space");
    assert.equal(await page.evaluate(() => viewer.paused), false);
    await until(page, "the message", () => /cannot be paused/.test($("toast").textContent));
  });
});

test("the timestamp is copied as UNIX time and ISO 8601", async () => {
  await withFake(
    {},
    async (page) => {
      await untilPhase(page, "live");
      await page.keyboard.press("Space");
      const stamp = await page.evaluate(() => viewer.canvasSink.last.stampText);
      await page.click("#copy-stamp");
      const iso = new Date(Number(stamp.split(".")[0]) * 1000 + 19_800_000).toISOString().slice(0, 19);
      const wanted = `${stamp} ${iso}.${stamp.split(".")[1]}+05:30`;
      await until(page, "the message", (text) => $("toast").textContent === `Copied ${text}`, wanted);
      await page.click("#open-server");
      await page.fill("#server", "");
      await page.press("#server", "Control+v");
      assert.equal(await page.inputValue("#server"), wanted);
    },
    { timezoneId: "Asia/Kolkata" },
  );
});

test("audio that the browser suspends is resumed; if it cannot be, the start button is back", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await page.click("#start-audio");
    await until(page, "audio on", () => viewer.audio.state === "on" && viewer.canvasSink.due !== null);
    await page.evaluate(() => viewer.audio.context.suspend());
    await until(page, "audio resumed", () => viewer.audio.state === "on" && viewer.audio.context.state === "running");
    await page.evaluate(() => {
      const { resume } = AudioContext.prototype;
      AudioContext.prototype.resume = () => {
        AudioContext.prototype.resume = resume;
        return Promise.reject(new Error("interrupted"));
      };
      viewer.audio.context.suspend();
    });
    await page.waitForSelector("#start-audio", { state: "visible" });
    assert.deepEqual(await page.evaluate(() => [viewer.audio.state, viewer.canvasSink.due]), ["off", null]);
    await page.click("#start-audio");
    await until(page, "audio on again", () => viewer.isAudible());
  });
});

test("while the video is paused the transport does not change; on resume it does", async () => {
  await withFake({ whep: 503 }, async (page, server) => {
    await untilPhase(page, "live");
    await until(page, "a second", () => viewer.history.frames.length > 15);
    await page.keyboard.press("Space");
    await page.selectOption("#transport", "webrtc");
    await page.evaluate(() => {
      // As if too slow.
      viewer.transport.checkTooSlow = () => (viewer.transport.tooSlow = true);
      viewer.update();
    });
    await page.click("#previous-frame");
    await until(page, "an earlier frame", () => viewer.canvasSink.last === viewer.review.frames.at(-2));
    assert.deepEqual([server.offers, server.handshakes.length], [0, 1]);
    assert.equal(await page.isVisible("#card"), false);
    await page.click("#resume");
    await until(page, "the attempt", () => viewer.transport.failure === "full");
    assert.ok(server.offers > 0);
    // A WebRTC connection that was being made when the video was paused.
    await page.click("#pause");
    await page.evaluate(() => {
      viewer.webrtc.disconnect(); // or its retries would report states of their own
      globalThis.played = 0;
      viewer.videoSink.play = () => globalThis.played++;
      viewer.onWebrtcState({ name: "connected", peer: {}, stream: new MediaStream() });
    });
    assert.deepEqual(await page.evaluate(() => [viewer.paused, globalThis.played]), [true, 0]);
    await page.click("#resume");
    assert.deepEqual(await page.evaluate(() => [viewer.paused, globalThis.played]), [false, 1]);
  });
});

test("a recording is saved when the page connects to another server", async () => {
  const other = await new FakeServer().listen();
  try {
    await withFake({}, async (page) => {
      await untilPhase(page, "live");
      await page.click("#record");
      await until(page, "half a second", () => viewer.recording && viewer.recording.seconds() > 0.5);
      const { bytes } = await download(page, () => page.evaluate((port) => connectTo(`127.0.0.1:${port}`, ""), other.port));
      assert.ok(bytes.length > 1000, `${bytes.length} bytes`);
      await until(page, "the other server", () => viewer.recording === null && viewer.phase === "live");
    });
  } finally {
    await other.close();
  }
});

test("the screen is kept on only while that is wanted, also if the lock comes late", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    const held = await page.evaluate(async () => {
      let locks = 0;
      const granted = [];
      const request = () =>
        new Promise((done) =>
          granted.push(() => {
            locks++;
            done({ release: () => locks-- });
          }),
        );
      wakeLock = null;
      Object.defineProperty(navigator, "wakeLock", { value: { request }, configurable: true });
      const calls = [keepAwake(true), keepAwake(true)];
      for (const grant of granted.splice(0)) grant();
      await Promise.all(calls);
      const once = locks;
      const late = keepAwake(true);
      await keepAwake(false);
      granted[0]();
      await late;
      return [once, locks];
    });
    assert.deepEqual(held, [1, 0]);
  });
});

/** Scale and offset at which the video is shown. */
const shownZoom = (page) =>
  page.evaluate(() => {
    const [frame, media] = ["frame", "media"].map((id) => $(id).getBoundingClientRect());
    return { scale: media.width / frame.width, left: media.left - frame.left, top: media.top - frame.top };
  });

test("the video is zoomed by wheel and keys, moved by dragging, and reset", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    const box = await page.locator("#frame").boundingBox();
    const point = { x: box.x + box.width / 4, y: box.y + box.height / 4 };
    await page.mouse.move(point.x, point.y);
    await page.mouse.wheel(0, -500);
    await page.waitForSelector("#reset-zoom", { state: "visible" });
    const zoomed = await shownZoom(page);
    assert.ok(Math.abs(zoomed.scale - Math.E) < 0.01, `${zoomed.scale}`);
    // The point under the pointer stays.
    assert.ok(Math.abs(zoomed.left - (box.width / 4) * (1 - zoomed.scale)) < 1, JSON.stringify(zoomed));
    assert.equal(await page.textContent("#reset-zoom"), "2.7×");
    await page.mouse.down();
    await page.mouse.move(point.x - 40, point.y - 30);
    await page.mouse.up();
    const moved = await shownZoom(page);
    assert.deepEqual([Math.round(moved.left - zoomed.left), Math.round(moved.top - zoomed.top)], [-40, -30]);
    await page.keyboard.press("Shift+ArrowRight");
    assert.ok((await shownZoom(page)).left < moved.left);
    await page.click("#reset-zoom");
    assert.deepEqual(await shownZoom(page), { scale: 1, left: 0, top: 0 });
    assert.equal(await page.isVisible("#reset-zoom"), false);
    await page.keyboard.press("+");
    assert.ok(Math.abs((await shownZoom(page)).scale - 1.25) < 0.01);
    await page.keyboard.press("0");
    assert.equal((await shownZoom(page)).scale, 1);
  });
});

test("on a phone the video is zoomed by pinch and double tap", async () => {
  await withFake(
    {},
    async (page, server, context) => {
      await untilPhase(page, "live");
      const box = await page.locator("#frame").boundingBox();
      const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
      const devtools = await context.newCDPSession(page);
      const touch = (type, ...xs) =>
        devtools.send("Input.dispatchTouchEvent", { type, touchPoints: xs.map((at, id) => ({ x: at, y, id })) });
      await touch("touchStart", x - 30, x + 30);
      await touch("touchMove", x - 60, x + 30);
      await touch("touchMove", x - 60, x + 60);
      await touch("touchEnd");
      await until(page, "twice the size", () => Math.abs(zoom.state.scale - 2) < 0.1);
      // On a busy machine two taps may be far apart.
      await page.evaluate(() => {
        Zoom.TAP_MS = 10_000;
      });
      for (const wanted of [1, 2.5]) {
        await page.touchscreen.tap(x, y);
        await page.touchscreen.tap(x, y);
        await until(page, `scale ${wanted}`, (scale) => Math.abs(zoom.state.scale - scale) < 0.01, wanted);
      }
    },
    PHONE,
  );
});

test("in full screen on a phone a tap shows the bars and presses no hidden button", async () => {
  await withFake(
    {},
    async (page) => {
      await untilPhase(page, "live");
      await page.tap("#fullscreen");
      await until(page, "full screen", () => document.fullscreenElement !== null);
      await page.evaluate(() => document.activeElement.blur());
      await until(page, "hidden bars", () => document.querySelector(".app.idle .controls")?.computedStyleMap().get("opacity").value === 0);
      const { x, y, width, height } = await page.evaluate(() => $("fullscreen").getBoundingClientRect().toJSON());
      await page.touchscreen.tap(x + width / 2, y + height / 2);
      await until(page, "bars", () => document.querySelector(".app:not(.idle)") !== null);
      assert.equal(await page.evaluate(() => document.fullscreenElement !== null), true);
    },
    PHONE,
  );
});

test("a double click on the video is full screen", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await page.dblclick("#media");
    await until(page, "full screen", () => document.fullscreenElement !== null);
  });
});

test("picture in picture shows the live frames, is left by the same key, and then costs nothing", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await page.click("#pip");
    await until(page, "the window", () => document.pictureInPictureElement !== null && pip.active !== null);
    const time = () => page.evaluate(() => document.pictureInPictureElement.currentTime);
    const before = await time();
    await until(page, "frames in it", (from) => document.pictureInPictureElement.currentTime > from + 0.3, before);
    assert.equal(await page.getAttribute("#pip", "aria-label"), "Leave picture in picture (P)");
    await until(page, "one window", () => !pip.opening);
    await page.keyboard.press("p");
    await until(page, "no window", () => document.pictureInPictureElement === null && pip.active === null);
    assert.equal(await page.evaluate(() => viewer.canvasSink.background), false);
  });
});

test("picture in picture that fails leaves no track behind, and is opened once", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    const [tracks, attempts, active] = await page.evaluate(async () => {
      const tracks = [];
      const capture = HTMLCanvasElement.prototype.captureStream;
      HTMLCanvasElement.prototype.captureStream = function () {
        const stream = capture.call(this);
        tracks.push(...stream.getTracks());
        return stream;
      };
      let attempts = 0;
      HTMLVideoElement.prototype.requestPictureInPicture = async () => {
        attempts++;
        throw new Error("not now");
      };
      const failed = pip.toggle(false).catch((error) => error.message);
      await pip.toggle(false);
      await failed;
      return [tracks.map(({ readyState }) => readyState), attempts, pip.active];
    });
    assert.deepEqual([tracks, attempts, active], [["ended"], 1, null]);
  });
  await withFake({ video: false, camera: false }, async (page) => {
    await untilPhase(page, "audio-only");
    assert.equal(await page.isDisabled("#pip"), true);
  });
});

test("in full screen a message is visible", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await page.keyboard.press("f");
    await until(page, "full screen", () => document.fullscreenElement !== null);
    await page.evaluate(() => toast("a message"));
    await until(page, "the message on top", () => {
      const box = $("toast").getBoundingClientRect();
      // Clicks pass through it.
      $("toast").style.pointerEvents = "auto";
      return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2) === $("toast");
    });
  });
});

test("smooth has a longer delay than lowest", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await page.click("#start-audio");
    const delay = () => page.evaluate(() => viewer.sync.delay + viewer.clockOffset());
    await page.keyboard.press("3");
    await until(page, "smooth", () => viewer.sync.delay + viewer.clockOffset() > 0.25);
    const smooth = await delay();
    await page.keyboard.press("1");
    await until(page, "lowest", (before) => viewer.sync.delay + viewer.clockOffset() < before - 0.1, smooth);
    assert.equal(await page.isChecked("#latency input[value=lowest]"), true);
  });
});

test("after a stall of the browser the delay decreases again", async () => {
  await withFake(
    {},
    async (page) => {
      await untilPhase(page, "live");
      await page.click("#start-audio");
      await until(page, "in sync", () => viewer.canvasSink.due !== null);
      await page.evaluate(() => {
        const end = performance.now() + 1500;
        while (performance.now() < end);
      });
      const delay = () => viewer.sync.delay !== null && viewer.sync.delay + viewer.clockOffset() < 0.4;
      await until(page, "a small delay", delay, null, 60);
    },
    { settings: { latency: "lowest" } },
  );
});

test("keyboard shortcuts work, except while typing", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await page.keyboard.press("i");
    assert.equal(await page.isVisible("#stats"), false);
    await page.keyboard.press("i");
    assert.equal(await page.isVisible("#stats"), true);
    await page.keyboard.press("m");
    await until(page, "audio on", () => viewer.audio.state === "on");
    await page.keyboard.press("ArrowDown");
    assert.equal(await setting(page, "volume"), 0.95);
    await page.keyboard.press("f");
    await until(page, "full screen", () => document.fullscreenElement !== null);
    await page.keyboard.press("f");
    await until(page, "no full screen", () => document.fullscreenElement === null);
    await page.keyboard.press("Shift+?");
    assert.equal(await page.isVisible("#help"), true);
    await page.keyboard.press("i");
    assert.equal(await page.isVisible("#stats"), true);
    await page.keyboard.press("Escape");
    await page.click("#open-server");
    await page.keyboard.type("mifs");
    assert.equal(await page.isVisible("#stats"), true);
    assert.equal(await page.evaluate(() => viewer.audio.muted), false);
  });
});

test("keyboard shortcuts work after a click on latency, volume and connection", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    await page.keyboard.press("m");
    await until(page, "audio on", () => viewer.audio.state === "on");
    await page.click("#latency label:has([value=lowest])");
    await page.keyboard.press("i");
    assert.equal(await page.isVisible("#stats"), false);
    await page.keyboard.press("ArrowDown");
    assert.equal(await setting(page, "latency"), "lowest");
    assert.equal(await setting(page, "volume"), 0.95);
    await page.click("#volume", { position: { x: 10, y: 8 } });
    const volume = await setting(page, "volume");
    await page.keyboard.press("3");
    assert.equal(await setting(page, "latency"), "smooth");
    await page.keyboard.press("ArrowUp");
    assert.ok((await setting(page, "volume")) > volume);
    // By keyboard, a control keeps its own keys.
    await page.focus("#latency input:checked");
    await page.keyboard.press("ArrowLeft");
    assert.equal(await setting(page, "latency"), "balanced");
    await page.keyboard.press("i");
    assert.equal(await page.isVisible("#stats"), true);
  });
});

test("in full screen the statistics are hidden until requested, and come back after it", async () => {
  const fullscreen = (page, on) => until(page, `full screen ${on}`, (wanted) => Boolean(document.fullscreenElement) === wanted, on);
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    assert.equal(await page.isVisible("#stats"), true);
    await page.keyboard.press("f");
    await fullscreen(page, true);
    await page.waitForSelector("#stats", { state: "hidden" });
    await page.keyboard.press("i");
    assert.equal(await page.isVisible("#stats"), true);
    await page.keyboard.press("i");
    await page.keyboard.press("f");
    await fullscreen(page, false);
    await page.waitForSelector("#stats", { state: "visible" });
    assert.equal(await setting(page, "stats"), true);
  });
});

test("on phones and tablets the statistics are closed at first; in portrait they open below the video", async () => {
  for (const [width, height] of [[844, 390], [768, 1024], [390, 780]]) {
    await withFake(
      {},
      async (page) => {
        await untilPhase(page, "live");
        assert.equal(await page.isVisible("#stats"), false, `${width} x ${height}`);
        await page.click("#toggle-stats");
        const [video, stats] = await page.evaluate(() => ["frame", "stats"].map((id) => $(id).getBoundingClientRect().toJSON()));
        if (height > width) assert.ok(stats.top >= video.bottom, `${width} x ${height}`);
        assert.ok(height < width || video.width > 0.6 * width, `video ${video.width} of ${width} px`);
      },
      { viewport: { width, height } },
    );
  }
});

test("settings and server are stored", async () => {
  await withFake({}, async (page, server) => {
    await untilPhase(page, "live");
    await page.click("#open-settings");
    await page.fill("#server", "not an address");
    await page.click("#settings-form button[type=submit]");
    assert.equal(await page.getAttribute("#server", "aria-invalid"), "true");
    await page.fill("#server", `localhost:${server.port}`);
    await page.selectOption("#theme", "light");
    await page.selectOption("#language", "ja");
    await page.selectOption("#snapshot-format", "png");
    await page.click("#settings-form button[type=submit]");
    await page.keyboard.press("3");
    await untilPhase(page, "live");
    await page.goto(page.url().split("?")[0]);
    await untilPhase(page, "live");
    assert.equal(await page.textContent("#server-label"), `localhost:${server.port}`);
    assert.equal(await page.getAttribute("html", "data-theme"), "light");
    assert.equal(await page.getAttribute("html", "lang"), "ja");
    assert.equal(await page.isChecked("#latency input[value=smooth]"), true);
    assert.equal(await setting(page, "snapshot"), "png");
  });
});

test("a landscape phone has latency and connection in the settings, and low bars", async () => {
  await withFake(
    {},
    async (page) => {
      await untilPhase(page, "live");
      assert.equal(await page.isVisible("#latency"), false);
      const bars = await page.evaluate(() =>
        [...document.querySelectorAll(".bar")].reduce((sum, bar) => sum + bar.getBoundingClientRect().height, 0),
      );
      assert.ok(bars < 0.36 * 320, `bars of ${bars} px`);
      await page.click("#open-settings");
      await page.selectOption("#settings-latency", "smooth");
      await page.selectOption("#settings-transport", "websocket");
      assert.deepEqual([await setting(page, "latency"), await setting(page, "transport")], ["smooth", "websocket"]);
    },
    { ...PHONE, viewport: { width: 568, height: 320 } },
  );
});

test("a click beside a dialog closes it; the token is shown on request", async () => {
  await withFake({ token: "s3cret" }, async (page) => {
    await untilPhase(page, "refused");
    await page.click("#open-settings");
    await page.fill("#settings-token", "s3cret");
    assert.equal(await page.getAttribute("#settings-token", "type"), "password");
    await page.check("#show-token");
    assert.equal(await page.getAttribute("#settings-token", "type"), "text");
    await page.click("#settings-title");
    assert.equal(await page.isVisible("#settings"), true);
    // A press inside that ends outside, for example to select text, closes nothing.
    const title = await page.locator("#settings-title").boundingBox();
    await page.mouse.move(title.x + 5, title.y + 5);
    await page.mouse.down();
    await page.mouse.move(5, 400);
    await page.mouse.up();
    assert.equal(await page.isVisible("#settings"), true);
    await page.mouse.click(5, 400);
    assert.equal(await page.isVisible("#settings"), false);
  });
});

test("parameters in the address: no bars, fit, settings that are not stored", async () => {
  const fragment = "&ui=0&fit=cover&lang=ja&latency=lowest&theme=light&overlay=0&stats=7";
  await withFake(
    {},
    async (page) => {
      await untilPhase(page, "live");
      assert.equal(await page.evaluate(() => [...document.querySelectorAll(".bar, #stats")].some((e) => e.checkVisibility())), false);
      const video = await page.locator("#frame").boundingBox();
      assert.deepEqual([video.x, video.y, video.width, video.height].map(Math.round), [0, -80, 1280, 960]);
      assert.equal(await page.getAttribute("html", "lang"), "ja");
      assert.equal(await page.getAttribute("html", "data-theme"), "light");
      await until(page, "a frame", () => viewer.canvasSink.last !== null);
      assert.equal(await page.isVisible("#copy-stamp"), false);
      assert.deepEqual([await setting(page, "latency"), await setting(page, "stats")], ["lowest", true]);
      await page.keyboard.press("ArrowDown");
      const stored = await page.evaluate(() => JSON.parse(localStorage.getItem("stampcast.settings")));
      assert.deepEqual([stored.volume, stored.latency, stored.language], [0.95, "balanced", "auto"]);
      // The overlays are on the visible part of the cropped video.
      await page.keyboard.press("o");
      await page.waitForSelector("#stamp-overlay", { state: "visible" });
      const stamp = await page.locator("#stamp-overlay").boundingBox();
      assert.ok(stamp.x > 0 && stamp.y > 700 && stamp.y + stamp.height < 800, JSON.stringify(stamp));
    },
    { fragment },
  );
});

test("muted=0 in the address starts audio at once, or with the first click or key if the browser requires one", async () => {
  await withFake(
    {},
    async (page, server, context) => {
      await until(page, "audio on", () => viewer.isAudible());
      await context.addInitScript(() => {
        const { resume } = AudioContext.prototype;
        let allowed = false;
        for (const type of ["click", "keydown"]) addEventListener(type, () => (allowed = true), true);
        AudioContext.prototype.resume = function () {
          return allowed ? resume.call(this) : new Promise(() => {});
        };
      });
      await page.reload();
      await untilPhase(page, "live");
      await until(page, "the refusal", () => viewer.audio.state === "failed");
      await page.click("#media");
      await until(page, "audio on", () => viewer.isAudible());
      await page.reload();
      await until(page, "the refusal", () => viewer.audio.state === "failed");
      await page.keyboard.press("o");
      await until(page, "audio on", () => viewer.isAudible());
      // A gesture during the attempt, which fails only after seconds.
      await page.reload();
      await until(page, "the attempt", () => viewer.audio.state === "starting");
      await page.keyboard.press("o");
      await until(page, "audio on", () => viewer.isAudible());
    },
    { fragment: "&muted=0" },
  );
});

test("the report has samples, losses and the server's /info, and no token", async () => {
  await withFake(
    { token: "s3cret" },
    async (page, server) => {
      await untilPhase(page, "live");
      server.skipFrames(4, "ring");
      await until(page, "a few samples", () => statsLog.samples.some(({ fps }) => fps > 5));
      await page.click("#copy-report");
      await until(page, "the message", () => /^Report copied/.test($("toast").textContent));
      await page.evaluate(() => document.body.append(Object.assign(document.createElement("textarea"), { id: "paste" })));
      await page.press("#paste", "Control+v");
      const text = await page.inputValue("#paste");
      assert.ok(!text.includes("s3cret"));
      const report = JSON.parse(text);
      assert.equal(report.lost.ring.count, 4);
      assert.equal(report.info.video.device, "Fake Camera (/dev/video0)");
      assert.ok(report.samples.at(-1).latency_p50_ms > 0 && report.samples.length < 60);
    },
    { fragment: "#token=s3cret" },
  );
});

test("links: the server's addresses, with the token only on request", async () => {
  await withFake(
    { token: "s3 cret" },
    async (page, server) => {
      await untilPhase(page, "live");
      const values = () => page.evaluate(() => [...document.querySelectorAll("#share-list input")].map((field) => field.value));
      const base = `127.0.0.1:${server.port}`;
      let answer;
      let sent;
      await page.route(`http://${base}/`, async (route) => {
        sent = route.request().headers().authorization;
        await new Promise((done) => (answer = done));
        // As the form for the token.
        await route.fulfill({ status: 401, contentType: "text/html", headers: { "access-control-allow-origin": "*" } });
      });
      const asked = page.waitForRequest(`http://${base}/`);
      await page.keyboard.press("l");
      await asked;
      await until(page, "the question", () => /^Checking/.test($("share-hint").textContent));
      assert.equal(sent, "Bearer s3 cret");
      answer();
      await until(page, "the hint", () => /--serve-client/.test($("share-hint").textContent));
      const paths = ["snapshot.jpg", "stream.mjpg", "audio.wav", "whep"];
      assert.deepEqual(await values(), [...paths.map((path) => `http://${base}/${path}`), `ws://${base}/stream`]);
      await page.check("#share-token");
      assert.equal((await values()).at(-1), `ws://${base}/stream?token=s3%20cret`);
      assert.equal(await page.isVisible("#share-qr"), false);
      await page.click("#share-list .shared:first-child button");
      await until(page, "the copy", () => $("share-list").querySelector("button").textContent === "Copied");
      await page.click("#share [data-close]");
      await page.click("#open-server");
      await page.fill("#server", "");
      await page.press("#server", "Control+v");
      assert.equal(await page.inputValue("#server"), `http://${base}/snapshot.jpg?token=s3%20cret`);
    },
    { fragment: "#token=s3%20cret" },
  );
});

test("invalid stored settings are ignored", async () => {
  const settings = { latency: "warp", volume: 7, theme: "light", muted: "yes", server: 5 };
  await withFake(
    {},
    async (page) => {
      await untilPhase(page, "live");
      assert.equal(await setting(page, "latency"), "balanced");
      assert.equal(await setting(page, "volume"), 1);
      assert.equal(await page.getAttribute("html", "data-theme"), "light");
    },
    { settings },
  );
});
