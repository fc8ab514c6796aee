/** One clock for everything that plays, so that all stimuli and clips move in step. */

/** The authors' GIFs show a frame for 150 ms. */
const FRAMES_A_SECOND = 1000 / 150;

class Clock extends EventTarget {
  constructor() {
    super();
    this.playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.speed = 1;
    /** Frames since the start, a real number; each player takes it modulo its own length. */
    this.time = 0;
    /** Frames of the longest clip seen: what a slider spans. */
    this.span = 10;
    this.shown = true;
    this.request = 0;
  }

  get frame() {
    return Math.floor(this.time);
  }

  /** Stops while the tab is hidden: a hidden TensorBoard tab goes on getting animation frames. */
  watch(element) {
    let intersects = true;
    const update = () => {
      const shown = intersects && innerHeight > 0;
      if (shown === this.shown) return;
      this.shown = shown;
      this.dispatchEvent(new Event(shown ? "shown" : "hidden"));
      this.run();
    };
    new IntersectionObserver((entries) => {
      intersects = entries[entries.length - 1].isIntersecting;
      update();
    }).observe(element);
    // A page without height may still count as touching the window: its own height decides as well.
    addEventListener("resize", update);
    this.run();
  }

  run() {
    cancelAnimationFrame(this.request);
    this.request = 0;
    if (!this.playing || !this.shown) return;
    let before = null;
    const step = (now) => {
      const frame = this.frame;
      // A page that was busy goes on from where it was, without a jump.
      if (before !== null) this.time += (Math.min(now - before, 250) / 1000) * FRAMES_A_SECOND * this.speed;
      before = now;
      if (this.frame !== frame) this.dispatchEvent(new Event("frame"));
      this.request = requestAnimationFrame(step);
    };
    this.request = requestAnimationFrame(step);
  }

  play(playing) {
    this.playing = playing;
    this.run();
    this.dispatchEvent(new Event("change"));
  }

  setSpeed(speed) {
    this.speed = speed;
    this.dispatchEvent(new Event("change"));
  }

  /** Notes a clip's length. */
  reach(frames) {
    if (frames <= this.span) return;
    this.span = frames;
    this.dispatchEvent(new Event("change"));
  }

  seek(frame) {
    this.time = Math.max(0, frame);
    this.dispatchEvent(new Event("frame"));
  }
}

export const clock = new Clock();
