"""The programs of `make bench`. Not shipped: the wheel does not contain them."""
