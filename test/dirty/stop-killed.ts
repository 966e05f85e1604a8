// Stops process PID and is killed while it stands still.

import { whileStopped } from '../../dirty/soft/stop.js';

whileStopped(Number(process.argv[2]), () => {
  console.log('stopped');
  process.kill(process.pid, 'SIGKILL');
  for (;;);
});
