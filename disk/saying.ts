// How the catalogue of faults says a thing.

export interface Saying {
  readonly what: string;
  readonly advice: string;
}

export const say = (what: string, advice: string): Saying => ({ what, advice });
