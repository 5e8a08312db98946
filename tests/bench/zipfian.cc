#include "tests/bench/zipfian.h"

#include <algorithm>
#include <cmath>

namespace thermocline::bench {
namespace {

// (e^x - 1) / x and log(1 + x) / x, with their limits where x is tiny: theta may be 1.
double ExpRatio(double x) { return std::abs(x) > 1e-8 ? std::expm1(x) / x : 1 + x / 2; }
double LogRatio(double x) { return std::abs(x) > 1e-8 ? std::log1p(x) / x : 1 - x / 2; }

}  // namespace

Zipfian::Zipfian(uint64_t size, double theta)
    : size_(static_cast<double>(size)),
      theta_(theta),
      integral_first_(Integral(1.5) - 1),
      integral_last_(Integral(size_ + 0.5)),
      sure_(2 - InverseIntegral(Integral(2.5) - Density(2))) {}

double Zipfian::Density(double x) const { return std::exp(-theta_ * std::log(x)); }

double Zipfian::Integral(double x) const {
  const double log = std::log(x);
  return ExpRatio((1 - theta_) * log) * log;
}

double Zipfian::InverseIntegral(double y) const {
  return std::exp(LogRatio(std::max(y * (1 - theta_), -1.0)) * y);
}

uint64_t Zipfian::Draw(RandomStream& random) const {
  while (true) {
    const double y = integral_last_ + random.Fraction() * (integral_first_ - integral_last_);
    const double x = InverseIntegral(y);
    const double rank = std::clamp(std::floor(x + 0.5), 1.0, size_);
    if (rank - x <= sure_ || y >= Integral(rank + 0.5) - Density(rank))
      return static_cast<uint64_t>(rank) - 1;
  }
}

}  // namespace thermocline::bench
