// Draws the ball's shadow on a disk: distance from the centre is hyperbolic distance (linear), the angle is a projection.
//
// The chosen point pulls the centre towards itself, so that its surroundings open up; the move is animated unless the
// visitor prefers less motion. Colours come from the style sheet, so light and dark follow the page.

import { lookFrom, type Plane, type Points, type Polar, principalPlane, row, towards } from "./ball.ts";
import type { Relation, Taxonomy } from "./taxonomy.ts";

const PULL = 0.3;
const MOVE_MILLISECONDS = 450;
const PICK_PIXELS = 14;
const MARGIN_PIXELS = 10;
const COLOURS: Record<Relation, string> = {
  chosen: "--chosen",
  above: "--above",
  below: "--below",
  other: "--faint",
};

interface Spot {
  x: number;
  y: number;
}

interface Scene {
  chosen: number;
  relations: Relation[];
  neighbours: number[];
}

export class Disk {
  readonly #canvas: HTMLCanvasElement;
  readonly #points: Points;
  readonly #taxonomy: Taxonomy;
  readonly #plane: Plane;
  #centre: Float64Array;
  #scene: Scene | undefined;
  #spots: Spot[] = [];
  #hover = -1;
  #frame = 0;

  constructor(canvas: HTMLCanvasElement, points: Points, taxonomy: Taxonomy, pick: (row: number) => void) {
    this.#canvas = canvas;
    this.#points = points;
    this.#taxonomy = taxonomy;
    this.#plane = principalPlane(points);
    this.#centre = new Float64Array(points.dimension);
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    canvas.addEventListener("pointermove", (event) => this.#point(event));
    canvas.addEventListener("pointerleave", () => this.#setHover(-1));
    canvas.addEventListener("click", (event) => {
      this.#point(event);
      if (this.#hover >= 0) {
        pick(this.#hover);
      }
    });
  }

  show(scene: Scene): void {
    this.#scene = scene;
    const from = this.#centre;
    const to = towards(row(this.#points, scene.chosen), PULL);
    cancelAnimationFrame(this.#frame);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.#centre = to;
      this.#draw();
      return;
    }
    const start = performance.now();
    const step = (now: number): void => {
      const t = Math.min(1, Math.max(0, (now - start) / MOVE_MILLISECONDS));
      const eased = t * t * (3 - 2 * t);
      this.#centre = from.map((value, i) => value + eased * ((to[i] ?? 0) - value));
      this.#draw();
      if (t < 1) {
        this.#frame = requestAnimationFrame(step);
      }
    };
    this.#frame = requestAnimationFrame(step);
  }

  #point(event: PointerEvent | MouseEvent): void {
    const box = this.#canvas.getBoundingClientRect();
    const x = event.clientX - box.left;
    const y = event.clientY - box.top;
    let nearest = -1;
    let least = PICK_PIXELS ** 2;
    this.#spots.forEach((spot, i) => {
      const gap = (spot.x - x) ** 2 + (spot.y - y) ** 2;
      if (gap < least) {
        least = gap;
        nearest = i;
      }
    });
    this.#setHover(nearest);
  }

  #setHover(at: number): void {
    if (at !== this.#hover) {
      this.#hover = at;
      this.#canvas.style.cursor = at >= 0 ? "pointer" : "";
      this.#draw();
    }
  }

  #draw(): void {
    const scene = this.#scene;
    const context = this.#canvas.getContext("2d");
    const size = this.#canvas.clientWidth;
    if (!scene || !context || size === 0) {
      return;
    }
    const ratio = devicePixelRatio;
    if (this.#canvas.width !== Math.round(size * ratio)) {
      this.#canvas.width = Math.round(size * ratio);
      this.#canvas.height = this.#canvas.width;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, size, size);
    const polar = lookFrom(this.#points, this.#centre, this.#plane);
    this.#spots = place(polar, size);
    const style = getComputedStyle(this.#canvas);
    const paint = new Painter(context, (name) => style.getPropertyValue(name), size);
    paint.rim();
    this.#drawEdges(paint, scene);
    this.#drawPoints(paint, scene);
    this.#drawLabels(paint, scene);
  }

  #drawEdges(paint: Painter, scene: Scene): void {
    this.#taxonomy.hypernyms.forEach((hypernyms, from) => {
      const relation = scene.relations[from] ?? "other";
      for (const to of hypernyms) {
        const isBranch =
          relation === "below" || ((relation === "above" || relation === "chosen") && scene.relations[to] === "above");
        paint.line(
          this.#spots[from],
          this.#spots[to],
          isBranch ? COLOURS[relation === "chosen" ? "above" : relation] : "--line",
          isBranch,
        );
      }
    });
  }

  #drawPoints(paint: Painter, scene: Scene): void {
    for (const wanted of ["other", "below", "above", "chosen"] as const) {
      scene.relations.forEach((relation, i) => {
        if (relation === wanted) {
          paint.dot(this.#spots[i], COLOURS[relation], relation === "other" ? 1.7 : relation === "chosen" ? 6 : 3);
        }
      });
    }
    for (const neighbour of scene.neighbours) {
      paint.ring(this.#spots[neighbour], "--text");
    }
  }

  #drawLabels(paint: Painter, scene: Scene): void {
    const named = [scene.chosen, ...scene.neighbours];
    if (this.#hover >= 0) {
      named.unshift(this.#hover);
    }
    for (const at of new Set(named)) {
      paint.label(this.#spots[at], this.#taxonomy.lemma(at), at === this.#hover || at === scene.chosen);
    }
  }
}

function place(polar: Polar[], size: number): Spot[] {
  const farthest = polar.reduce((most, { distance }) => Math.max(most, distance), 1);
  const scale = (size / 2 - MARGIN_PIXELS) / farthest;
  return polar.map(({ distance, angle }) => ({
    x: size / 2 + Math.cos(angle) * distance * scale,
    y: size / 2 + Math.sin(angle) * distance * scale,
  }));
}

/** Canvas calls in terms of spots and of the style sheet's colours; labels that would cover another are left out. */
class Painter {
  readonly #context: CanvasRenderingContext2D;
  readonly #colour: (name: string) => string;
  readonly #size: number;
  readonly #labels: { left: number; top: number; right: number; bottom: number }[] = [];

  constructor(context: CanvasRenderingContext2D, colour: (name: string) => string, size: number) {
    this.#context = context;
    this.#colour = colour;
    this.#size = size;
  }

  rim(): void {
    this.#context.beginPath();
    this.#context.arc(this.#size / 2, this.#size / 2, this.#size / 2 - 1, 0, 2 * Math.PI);
    this.#context.fillStyle = this.#colour("--sunken");
    this.#context.fill();
    this.#context.strokeStyle = this.#colour("--line");
    this.#context.lineWidth = 1;
    this.#context.stroke();
  }

  line(from: Spot | undefined, to: Spot | undefined, colour: string, isStrong: boolean): void {
    if (from && to) {
      this.#context.beginPath();
      this.#context.moveTo(from.x, from.y);
      this.#context.lineTo(to.x, to.y);
      this.#context.strokeStyle = this.#colour(colour);
      this.#context.globalAlpha = isStrong ? 0.55 : 0.35;
      this.#context.lineWidth = isStrong ? 1.2 : 0.5;
      this.#context.stroke();
      this.#context.globalAlpha = 1;
    }
  }

  dot(spot: Spot | undefined, colour: string, radius: number): void {
    if (spot) {
      this.#context.beginPath();
      this.#context.arc(spot.x, spot.y, radius, 0, 2 * Math.PI);
      this.#context.fillStyle = this.#colour(colour);
      this.#context.fill();
    }
  }

  ring(spot: Spot | undefined, colour: string): void {
    if (spot) {
      this.#context.beginPath();
      this.#context.arc(spot.x, spot.y, 6.5, 0, 2 * Math.PI);
      this.#context.strokeStyle = this.#colour(colour);
      this.#context.lineWidth = 1.3;
      this.#context.stroke();
    }
  }

  label(spot: Spot | undefined, text: string, isStrong: boolean): void {
    if (!spot) {
      return;
    }
    this.#context.font = `${isStrong ? 600 : 400} 12px system-ui, sans-serif`;
    const width = this.#context.measureText(text).width;
    const left = Math.min(Math.max(spot.x + 10, 2), this.#size - width - 2);
    const box = { left, top: spot.y - 8, right: left + width, bottom: spot.y + 8 };
    const isFree = this.#labels.every(
      (other) => box.right < other.left || box.left > other.right || box.bottom < other.top || box.top > other.bottom,
    );
    if (isFree) {
      this.#labels.push(box);
      this.#context.textBaseline = "middle";
      this.#context.strokeStyle = this.#colour("--sunken");
      this.#context.lineWidth = 3;
      this.#context.lineJoin = "round";
      this.#context.strokeText(text, left, spot.y);
      this.#context.fillStyle = this.#colour("--text");
      this.#context.fillText(text, left, spot.y);
    }
  }
}
