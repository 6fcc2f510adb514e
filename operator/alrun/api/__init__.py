"""The resource and the contracts around it: models without behaviour, which every other package may import."""
