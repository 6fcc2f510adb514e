"""A stand-in for NVIDIA's TAO images: what their programs take, refuse, print, write and return, without a GPU.

Nobody can test against the real images here, so the operator is held against this. It is written from what the real
programs were read to do, independently of the operator's own description of them: an oracle that shares code with
what it checks would agree with every mistake. Where it is not known what the real ones do, the stricter reading holds.

Inside, a small detector really learns, so that a figure it reports means something; an epoch of it is a handful of
steps. What can be set from outside, all by the environment of the image or of the container:

    TAO_STANDIN_DIALECT     tao3, tao4, tao5, pyt5.0, pyt5.5, pyt6 or pyt7
    TAO_STANDIN_FAIL        how to fail: see `failures`
    TAO_STANDIN_ITERATIONS  steps of an epoch (default 12)
    TAO_STANDIN_SIDE        longest side that images are learned at, pixels (default 256)
    TAO_STANDIN_CHECK_SHM   1: die like the real data loaders where /dev/shm is a container's 64 MiB
    TAO_STANDIN_GPUS        how many GPUs there are; else NVIDIA_VISIBLE_DEVICES is counted, else 1
"""
