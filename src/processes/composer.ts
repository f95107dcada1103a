/** The composer as a program of its own: dist/composer.mjs. */
import { runComposer } from '../daemon/composer.ts';

runComposer();
