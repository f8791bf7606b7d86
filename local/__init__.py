"""RunPod on your own machine: development tools that never go into a deployment's request path."""
