// What pools start in every thread. Piscina requires a file before it imports it, and Node 20 ends the whole process
// when a thread is told to end while it requires an ES module; so this one is CommonJS, and imports the rest.

const work = import('./work.js');
// A failure to load is told with the first task.
work.catch(() => {});

export = async (task: never): Promise<unknown> => (await work).default(task);
