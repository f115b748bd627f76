"""Rates of tax."""


def rate_of(country):
    return {"DE": 0.19, "FR": 0.2}[country]
