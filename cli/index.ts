// The door of cli/.

export { runCli } from './program.js';
