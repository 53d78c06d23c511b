/** The start of all pages. */
import { createRoot } from 'react-dom/client';
import { App } from './app';
import { listen } from './keys/keymap';
import './theme/tokens.css';
import './theme/base.css';
import { arrive } from './url/location';

arrive();
listen();
const root = document.getElementById('root');
if (root) createRoot(root).render(<App />);
