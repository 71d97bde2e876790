import { createRoot } from 'react-dom/client';
import { App } from './app';
import { loadSession } from './session';
import './style/tokens.css';
import './style/base.css';

const root = document.getElementById('root');
if (root === null) throw new Error('index.html has no #root');
createRoot(root).render(<App />);
void loadSession();
