"""Models in the formats of other programs: a GGUF file for llama.cpp, a repository on the Hugging Face Hub."""
