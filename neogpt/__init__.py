"""NeoGPT: grow a GPT-2 from nothing. The names below are the public interface; everything loads lazily."""
