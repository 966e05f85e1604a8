// Lets a user's module import "nvsnap/stage" wherever it lies: what is not found from there is looked for from here.
// Node loads this file into the thread of its loader; where it asks in the thread that imports, `resolveHere` is told.

/** What Node tells of an import. */
export interface ImportContext {
  readonly parentURL?: string | undefined;
}

/** The next one who is asked: at last Node itself. */
type Next<T> = (specifier: string, context: ImportContext) => T;

const isOurs = (specifier: string): boolean =>
  specifier === 'nvsnap' || specifier.startsWith('nvsnap/');

/** URL of a module of ours, from which the package finds itself. */
let home: string | undefined;

/** Called by Node with what `register` was given. */
export const initialize = (data: { readonly home: string }): void => {
  home = data.home;
};

/** Asked by Node for every import. */
export const resolve = async <T>(
  specifier: string,
  context: ImportContext,
  next: Next<Promise<T>>,
): Promise<T> => {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (!isOurs(specifier)) throw error;
    return next(specifier, { ...context, parentURL: home });
  }
};

/** The same at once. */
export const resolveHere =
  (from: string) =>
  <T>(specifier: string, context: ImportContext, next: Next<T>): T => {
    try {
      return next(specifier, context);
    } catch (error) {
      if (!isOurs(specifier)) throw error;
      return next(specifier, { ...context, parentURL: from });
    }
  };
