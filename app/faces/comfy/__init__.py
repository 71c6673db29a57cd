"""ComfyUI's API for a bounded set of graphs, under `/comfy`."""
