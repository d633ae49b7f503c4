"""One file is one reward: `reward(answer, known)` gives a number for an answer, or raises."""
