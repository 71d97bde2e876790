//! What the engine computes next: step plan, fairness, admission, prefix tree.
