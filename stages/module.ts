// Where the built-in stages' modules are: beside this one, in the sources as in what is run.

/** The URL of the module of a built-in stage. */
export const moduleOf = (name: string): string => new URL(`./${name}.js`, import.meta.url).href;
