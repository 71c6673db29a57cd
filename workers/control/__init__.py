"""Control nets: modules beside a base that read a picture and add to what the denoiser computes."""
