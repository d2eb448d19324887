"""FlashVSR: one-step streaming diffusion on the Wan2.1 1.3B DiT, from the published weights."""
