"""What pytest leaves out: the CUDA backend's examples, where there is no Triton to import."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["initpolicy/field/cuda.py"]
collect_ignore += ["tests/field/cuda_interpreted.py"]  # a script that a test runs
