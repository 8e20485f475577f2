"""Work on a GPU that is launched as a whole, as a CUDA graph, and the fixed shapes that it takes."""
