// Colours. A colour belongs to a value of a dimension: it stays when ranks, filters or ranges change.
// The dash pattern follows the colour, as a second cue.

export interface Theme {
  dark: boolean;
  palette: string[];
  other: string;
  ink: string;
  muted: string;
  grid: string;
  surface: string;
}

export const light: Theme = {
  dark: false,
  palette: ['#0072B2', '#D55E00', '#009E73', '#A93A78', '#444444'],
  other: '#8A8F98',
  ink: '#16191D',
  muted: '#5D656F',
  grid: '#E8EAED',
  surface: '#FFFFFF',
};

export const dark: Theme = {
  dark: true,
  palette: ['#56B4E9', '#E69F00', '#009E73', '#CC79A7', '#F0E442', '#D55E00'],
  other: '#8B949E',
  ink: '#E6E9ED',
  muted: '#9AA4AF',
  grid: '#262C33',
  surface: '#1B2025',
};

/** dash of each slot, canvas pixels; the first is solid. A "so far" tail is dotted whatever its slot. */
export const dashes: number[][] = [[], [8, 3], [2, 3], [10, 3, 2, 3], [5, 2], [12, 4]];
export const tailDash = [2, 4];

/** how many values get a colour of their own; the rest is "other" */
export const slots = 5;

/** remembers which slot a value of a dimension has */
export class Slots {
  private readonly of = new Map<string, Map<string, number>>();

  /**
   * A slot for each of the values shown together, no two alike. A value keeps the slot it had; a new
   * one takes a slot that none of the others shown holds, the one least used before.
   */
  assign(dimension: string, values: string[]): number[] {
    let had = this.of.get(dimension);
    if (!had) this.of.set(dimension, (had = new Map()));
    const taken = new Map<number, string>();
    const out: number[] = new Array<number>(values.length).fill(-1);
    values.forEach((v, i) => {
      const slot = had.get(v);
      if (slot !== undefined && !taken.has(slot)) {
        taken.set(slot, v);
        out[i] = slot;
      }
    });
    values.forEach((v, i) => {
      if (out[i] !== -1) return;
      const slot = this.free(had, taken);
      taken.set(slot, v);
      had.set(v, slot);
      out[i] = slot;
    });
    return out;
  }

  private free(had: Map<string, number>, taken: Map<number, string>): number {
    const uses = new Array<number>(slots).fill(0);
    for (const slot of had.values()) uses[slot] = (uses[slot] ?? 0) + 1;
    let best = -1;
    for (let i = 0; i < slots; i++) {
      if (taken.has(i)) continue;
      if (best === -1 || (uses[i] ?? 0) < (uses[best] ?? 0)) best = i;
    }
    return best === -1 ? taken.size % slots : best;
  }
}
