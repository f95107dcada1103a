/** The server as a program of its own: dist/server.mjs. */
import { runServer } from '../daemon/server.ts';

runServer();
