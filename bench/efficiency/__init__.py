"""What `bench/label_efficiency.py` is made of: data sets, rules on trial, loops, and figures."""
