"""Makes the frozen tables of `policies/tests/privacy_tables` from other people's libraries.

    python3 -m venv VENV && VENV/bin/pip install -r tests/privacy-tables/requirements.txt
    VENV/bin/python tests/privacy-tables/make.py

Oracles: dp-accounting (conversion, composition), PyDP, that is Google's C++ library (selection of
keys), and mpmath at 60 digits (exact tails). Nothing in here is random; a second run gives the
same files. Integers are those of the Rust side: nano (10^-9), atto (10^-18), scales in 2^-20.
"""

import json
import math
import pathlib

import dp_accounting
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import rdp_privacy_accountant as rdp
from mpmath import mp, mpf
from pydp.algorithms import partition_selection

mp.dps = 60
HERE = pathlib.Path(__file__).resolve().parent
TABLES = HERE.parent.parent / "policies" / "tests" / "privacy_tables"
NANO, ATTO, DYADIC = 10**9, 10**18, 2**20


def best_order(rho_nano, delta_atto):
    rho, log_inverse_delta = mpf(rho_nano) / NANO, -mp.log(mpf(delta_atto) / ATTO)

    def epsilon(log_order):
        a = mp.exp(log_order)
        rest = log_inverse_delta - a * mp.log1p(1 / a) - mp.log1p(a)
        return (1 + a) * rho + rest / a

    low, high = mpf(-25), mpf(25)
    for _ in range(150):
        third = (high - low) / 3
        if epsilon(low + third) <= epsilon(high - third):
            high -= third
        else:
            low += third
    return max(0, int(mp.ceil(epsilon(low) * NANO)))


def conversion():
    """One Gaussian of a given rho: the exact epsilon (analytic Gaussian mechanism), and the one
    that Renyi accounting gives on a fine grid of orders. `nano` is the same bound at its best order,
    in 60 digits, rounded up to a billionth."""
    orders = [1 + math.exp(-9 + 0.002 * i) for i in range(11_000)]
    rows = []
    for rho_nano in [1_000, 50_000, 100_000, 1_000_000, 12_500_000, 15_000_000, 206_300_000,
                     732_800_000, 2_000_000_000, 20_000_000_000]:
        for delta_atto in [10**6, 10**9, 5 * 10**8, 10**12, 10**15]:
            rho, delta = rho_nano / NANO, delta_atto / ATTO
            sigma = math.sqrt(1 / (2 * rho))
            accountant = rdp.RdpAccountant(orders)
            accountant.compose(dp_accounting.GaussianDpEvent(sigma))
            rows.append({
                "rho_nano": rho_nano, "delta_atto": delta_atto,
                "exact": dp_accounting.get_epsilon_gaussian(sigma, delta),
                "renyi": accountant.get_epsilon(delta),
                "nano": best_order(rho_nano, delta_atto),
            })
    return rows


def composition():
    """Many releases: what privacy-loss distributions make of them, never above the truth
    (optimistic) and never below (pessimistic)."""
    rows = []
    for count, rho_nano in [(1440, 100_000), (60, 1_000_000), (10, 20_630_000), (4, 183_200_000)]:
        sigma = math.sqrt(1 / (2 * rho_nano / NANO))
        row = {"noise": "gaussian", "count": count, "loss_nano": rho_nano, "delta_atto": 10**9}
        for name, pessimistic in [("lower", False), ("upper", True)]:
            one = pld.from_gaussian_mechanism(
                sigma, pessimistic_estimate=pessimistic, use_connect_dots=pessimistic)
            row[name] = one.self_compose(count).get_epsilon_for_delta(1e-9)
        rows.append(row)
    for count, epsilon_nano in [(60, 50_000_000), (10, 400_000_000), (4, 1_000_000_000)]:
        row = {"noise": "laplace", "count": count, "loss_nano": epsilon_nano, "delta_atto": 10**9}
        for name, pessimistic in [("lower", False), ("upper", True)]:
            one = pld.from_laplace_mechanism(
                NANO / epsilon_nano, pessimistic_estimate=pessimistic,
                use_connect_dots=pessimistic)
            row[name] = one.self_compose(count).get_epsilon_for_delta(1e-9)
        rows.append(row)
    return rows


def mechanisms():
    """Discrete noise as it is drawn: a lower bound of epsilon at delta, for one coordinate that
    changes by `sensitivity`."""
    rows = []
    for numerator, sensitivity in [(DYADIC, 1), (4 * DYADIC, 1), (int(26.83 * DYADIC), 6),
                                   (int(3.7 * DYADIC), 3), (100 * DYADIC, 50)]:
        for delta_atto in [10**9, 10**12, 10**15]:
            scale = numerator / DYADIC
            gaussian = pld.from_discrete_gaussian_mechanism(
                scale, sensitivity, pessimistic_estimate=False)
            laplace = pld.from_discrete_laplace_mechanism(
                1 / scale, sensitivity, pessimistic_estimate=False)
            rows.append({
                "scale": numerator, "sensitivity": sensitivity, "delta_atto": delta_atto,
                "gaussian": gaussian.get_epsilon_for_delta(delta_atto / ATTO),
                "laplace": laplace.get_epsilon_for_delta(delta_atto / ATTO),
            })
    return rows


def selection():
    """Google's partition selection: its threshold on the true line of reals, and how likely a key
    with one subject is kept, by Laplace and by the optimal truncated geometric."""
    rows = []
    for l0 in [1, 2, 5, 16]:
        for epsilon_nano in [50_000_000, 500_000_000, 1_000_000_000, 4_000_000_000]:
            for delta_atto in [10**9, 10**12, 10**15]:
                epsilon, delta = epsilon_nano / NANO, delta_atto / ATTO
                laplace = partition_selection.create_laplace_partition_strategy(epsilon, delta, l0)
                optimal = partition_selection.create_truncated_geometric_partition_strategy(
                    epsilon, delta, l0)
                rows.append({
                    "l0": l0, "epsilon_nano": epsilon_nano, "delta_atto": delta_atto,
                    "threshold": laplace.threshold,
                    "keep_one": laplace.probability_of_keep(1),
                    "optimal_keep_one": optimal.probability_of_keep(1),
                })
    return rows


def exact_delta(q, l0):
    return -mp.expm1(l0 * mp.log1p(-q))


def laplace_tail(m, s):
    return mp.exp(-mpf(m) / s) / (1 + mp.exp(-1 / s))


def gaussian_tail(m, sigma):
    weight = lambda x: mp.exp(-mpf(x) * x / (2 * sigma * sigma))
    end = int(m + 30 * sigma) + 30
    whole = 1 + 2 * sum(weight(x) for x in range(1, int(20 * sigma) + 30))
    return sum(weight(x) for x in range(m, end)) / whole


def thresholds():
    """The smallest T whose exact delta is affordable, and the exact deltas at T and at T - 1."""
    rows = []
    for noise, tail, scales in [("laplace", laplace_tail, [0.25, 0.5, 1, 4, 3.7, 24, 100]),
                                ("gaussian", gaussian_tail, [0.5, 1, 2, 11.6, 26.83, 63.5, 90.2])]:
        for scale in scales:
            numerator = math.ceil(scale * DYADIC)
            exact_scale = mpf(numerator) / DYADIC
            for l0 in [1, 2, 16]:
                for delta_atto in [50, 10**9, 10**12, 10**15, 10**16]:
                    low, high = 0, int(60 * scale) + 60
                    while high - low > 1:
                        middle = (low + high) // 2
                        d = exact_delta(tail(middle - 1, exact_scale), l0)
                        if d * ATTO <= delta_atto:
                            high = middle
                        else:
                            low = middle
                    row = {"noise": noise, "scale": numerator, "l0": l0, "delta_atto": delta_atto,
                           "threshold": high}
                    row["delta"] = mp.nstr(exact_delta(tail(high - 1, exact_scale), l0), 17)
                    below = exact_delta(tail(high - 2, exact_scale), l0) if high > 1 else mpf(1)
                    row["delta_below"] = mp.nstr(below, 17)
                    rows.append(row)
    return rows


def spreads():
    """Standard deviations, and half-widths of the 95 % interval, of the discrete noises."""
    rows = []
    for numerator in [DYADIC // 4, DYADIC // 2, DYADIC, 4 * DYADIC, int(11.6 * DYADIC),
                      24 * DYADIC]:
        s = mpf(numerator) / DYADIC
        for noise, weight in [("laplace", lambda x: mp.exp(-x / s)),
                              ("gaussian", lambda x: mp.exp(-mpf(x) * x / (2 * s * s)))]:
            values = [weight(mpf(x)) for x in range(0, int(80 * s) + 60)]
            mass = values[0] + 2 * sum(values[1:])
            variance = 2 * sum(x * x * w for x, w in enumerate(values)) / mass
            within, half = values[0] / mass, 0
            while within < mpf("0.95"):
                half += 1
                within += 2 * values[half] / mass
            rows.append({"noise": noise, "scale": numerator, "sd": float(mp.sqrt(variance)),
                         "half_95": half})
    return rows


def main():
    TABLES.mkdir(parents=True, exist_ok=True)
    for make in [conversion, composition, mechanisms, selection, thresholds, spreads]:
        rows = make()
        lines = ",\n".join("  " + json.dumps(row) for row in rows)
        (TABLES / f"{make.__name__}.json").write_text(f"[\n{lines}\n]\n")
        print(make.__name__, len(rows))


if __name__ == "__main__":
    main()
