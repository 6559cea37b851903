// exp, log, sigmoid, tanh, softplus, gelu and silu: the algebra, the polynomials and so the errors of the CPU kernels
// (docs/math.md). No table, no branch; NaN stays NaN.
#pragma once

namespace math {

template <class To, class From>
__device__ __forceinline__ To bits_as(From value)
{
    static_assert(sizeof(To) == sizeof(From), "bits_as keeps the size");
    To bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// A floating point format and the constants that depend on it. ln2_high has so few bits that its product with any
// exponent is exact; below exp_low e^x is flushed to zero, from exp_high up it is infinite.
template <class T>
struct Format;

template <>
struct Format<float> {
    using Bits = uint32_t;
    static constexpr int fraction_bits = 23, bias = 127;
    static constexpr float ln2_high = 0x1.62E4p-1f, ln2_low = 0x1.7F7D1Cp-20f, log2e = 1.44269504088896340736f;
    static constexpr float exp_low = -87.3f, exp_high = 89.0f;
    static constexpr Bits one = 0x3F800000, sqrt_half = 0x3F3504F3;
};

template <>
struct Format<double> {
    using Bits = uint64_t;
    static constexpr int fraction_bits = 52, bias = 1023;
    static constexpr double ln2_high = 0x1.62E42FEFA2p-1, ln2_low = 0x1.9EF35793C7673p-41;
    static constexpr double log2e = 1.44269504088896340736;
    static constexpr double exp_low = -708.3, exp_high = 710.0;
    static constexpr Bits one = 0x3FF0000000000000, sqrt_half = 0x3FE6A09E667F3BCC;
};

// Coefficients of asmgen/kernels/common/polynomials.py, highest power first.
// e^r = 1 + r + r^2 E(r), |r| <= ln(2)/2.
__device__ __forceinline__ float exp_polynomial(float r)
{
    float e = 0.00019890991097781807f;
    e = fma(e, r, 0.0013933649752289057f);
    e = fma(e, r, 0.00833331048488617f);
    e = fma(e, r, 0.04166646674275398f);
    e = fma(e, r, 0.1666666716337204f);
    return fma(e, r, 0.5f);
}

__device__ __forceinline__ double exp_polynomial(double r)
{
    double e = 2.510038549551032e-08;
    e = fma(e, r, 2.7620088445409746e-07);
    e = fma(e, r, 2.7557268459997064e-06);
    e = fma(e, r, 2.4801521295954376e-05);
    e = fma(e, r, 0.00019841269863053618);
    e = fma(e, r, 0.0013888888917213717);
    e = fma(e, r, 0.008333333333330062);
    e = fma(e, r, 0.04166666666662413);
    e = fma(e, r, 0.16666666666666669);
    return fma(e, r, 0.5000000000000001);
}

// log(1+f) = f - s (f - z L(z)), s = f/(2+f), z = s^2, sqrt(1/2) <= 1+f <= sqrt(2).
__device__ __forceinline__ float log_polynomial(float z)
{
    float l = 0.23330582678318024f;
    l = fma(l, z, 0.2855081558227539f);
    l = fma(l, z, 0.4000012278556824f);
    return fma(l, z, 0.6666666865348816f);
}

__device__ __forceinline__ double log_polynomial(double z)
{
    double l = 0.14616585424888623;
    l = fma(l, z, 0.15331710618210773);
    l = fma(l, z, 0.18182889455674947);
    l = fma(l, z, 0.22222211130259878);
    l = fma(l, z, 0.2857142862600327);
    l = fma(l, z, 0.39999999999899444);
    return fma(l, z, 0.666666666666667);
}

// The same, 0 <= f <= 1.
__device__ __forceinline__ float log1p_polynomial(float z)
{
    float l = 0.23224329948425293f;
    l = fma(l, z, 0.2170657515525818f);
    l = fma(l, z, 0.285923570394516f);
    l = fma(l, z, 0.3999970555305481f);
    return fma(l, z, 0.6666666865348816f);
}

__device__ __forceinline__ double log1p_polynomial(double z)
{
    double l = 0.1616404561194353;
    l = fma(l, z, 0.08800738486144674);
    l = fma(l, z, 0.12001072809590713);
    l = fma(l, z, 0.13314144209654935);
    l = fma(l, z, 0.15385570064958623);
    l = fma(l, z, 0.18181789436132859);
    l = fma(l, z, 0.22222222717427864);
    l = fma(l, z, 0.2857142856710876);
    l = fma(l, z, 0.40000000000014585);
    return fma(l, z, 0.6666666666666666);
}

// Phi(-a) = e^(-a^2 / 2) P(t) / (a + 5), t = (a - 5) / (a + 5), 0 <= a <= 39.
__device__ __forceinline__ float normal_tail_polynomial(float t)
{
    float p = -5.210029485169798e-05f;
    p = fma(p, t, -3.6257581086829305e-05f);
    p = fma(p, t, 0.0005554934614337981f);
    p = fma(p, t, -0.0008108562906272709f);
    p = fma(p, t, -0.0030011776834726334f);
    p = fma(p, t, 0.02079835720360279f);
    p = fma(p, t, -0.06911636143922806f);
    p = fma(p, t, 0.16502001881599426f);
    p = fma(p, t, -0.3135334253311157f);
    p = fma(p, t, 0.4953056275844574f);
    p = fma(p, t, -0.6653825044631958f);
    return fma(p, t, 0.7691930532455444f);
}

__device__ __forceinline__ double normal_tail_polynomial(double t)
{
    double p = 2.224938767716443e-09;
    p = fma(p, t, 7.630410417873182e-09);
    p = fma(p, t, -1.0618274174239376e-08);
    p = fma(p, t, -6.667529339227571e-08);
    p = fma(p, t, 4.375841598285575e-08);
    p = fma(p, t, 4.3443907263764586e-07);
    p = fma(p, t, -3.374965203524632e-07);
    p = fma(p, t, -2.7703209441469523e-06);
    p = fma(p, t, 3.981182741532577e-06);
    p = fma(p, t, 1.668170360977268e-05);
    p = fma(p, t, -4.9762853165030135e-05);
    p = fma(p, t, -5.937586616736071e-05);
    p = fma(p, t, 0.000544899062695852);
    p = fma(p, t, -0.0007978693748911934);
    p = fma(p, t, -0.002993376769094473);
    p = fma(p, t, 0.020795066797569855);
    p = fma(p, t, -0.06911863870647982);
    p = fma(p, t, 0.1650203661705007);
    p = fma(p, t, -0.3135331566712971);
    p = fma(p, t, 0.49530561596997413);
    p = fma(p, t, -0.6653825028900567);
    return fma(p, t, 0.769193049750063);
}

template <class T>
__device__ __forceinline__ T magnitude(T x)
{
    return fabs(x);
}

// e^(x + low) = scale (2 + q): scale = 2^(n-1), q = 2(e^r - 1), n = round(x / ln 2), r = x - n ln 2 and what its
// rounding loses.
// Adding 1.5 * 2^fraction_bits rounds x / ln 2 to an integer and leaves it in the lowest bits; with the bias already in
// that sum, a shift makes them the exponent field of 2^(n-1).
template <class T>
__device__ __forceinline__ void exp_parts(T x, T& scale, T& q, T low = T(0))
{
    using F = Format<T>;
    using Bits = typename F::Bits;
    constexpr T to_integer = T(1.5) * T(Bits(1) << F::fraction_bits) + T(F::bias - 1);
    x = x < F::exp_low ? F::exp_low : x;
    x = x > F::exp_high ? F::exp_high : x;
    const T shifted = fma(x, F::log2e, to_integer);
    const T n = shifted - to_integer;
    scale = bits_as<T>(Bits(bits_as<Bits>(shifted) << F::fraction_bits));
    const T high = fma(-n, F::ln2_high, x);
    const T rest = n * F::ln2_low - low;
    const T r = high - rest;
    const T lost = high - r - rest;
    const T two_r = r + r;
    q = fma(exp_polynomial(r) * two_r, r, lost + lost) + two_r;
}

// e^(x + low), low about an ulp of x: zero below 2^-125.5 (float64: 2^-1021.5), infinity above the range.
template <class T>
__device__ __forceinline__ T exp(T x, T low = T(0))
{
    T scale, q;
    exp_parts(x, scale, q, low);
    return (q + T(2)) * scale;
}

// e^x - 1 = 2m, m = (2^(n-1) - 1/2) + 2^(n-1) (e^r - 1), as in tanh: no cancellation.
template <class T>
__device__ __forceinline__ T expm1(T x)
{
    T scale, q;
    exp_parts(x, scale, q);
    const T m = q * T(0.5) * scale + (scale - T(0.5));
    return m + m;
}

// (x + low) / (1 + x + low) for -1/2 <= x <= 1 and low below an ulp of x: y = x / d with d = fl(1 + x), put right by
// what d lost, where 1 / d = 1 - y.
template <class T>
__device__ __forceinline__ T over_one_plus(T x, T low)
{
    const T d = x + T(1);
    const T lost = x - (d - T(1)) + low;
    const T y = x / d;
    return fma(fma(-lost, y, low), T(1) - y, y);
}

// log(1 + f) + plus.
template <class T>
__device__ __forceinline__ T log1p_sum(T f, T z_series, T s, T plus)
{
    return f - ((f - z_series) * s - plus);
}

// log x for positive normal numbers: x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2). Infinity gives NaN.
template <class T>
__device__ __forceinline__ T log(T x)
{
    using F = Format<T>;
    using Bits = typename F::Bits;
    const T not_a_number = x - x;
    const Bits moved = bits_as<Bits>(x) + (F::one - F::sqrt_half);  // the exponent field changes at sqrt(1/2)
    const T k = T(int(moved >> F::fraction_bits) - F::bias);
    const Bits fraction = moved & ((Bits(1) << F::fraction_bits) - 1);
    const T f = bits_as<T>(Bits(fraction + F::sqrt_half)) - T(1);
    const T s = f / (f + T(2));
    const T z = s * s;
    return fma(k, F::ln2_high, log1p_sum(f, log_polynomial(z) * z, s, k * F::ln2_low)) + not_a_number;
}

// 1 / (1 + e^-x): y = e^-|x| / (1 + e^-|x|) for negative x, 1 - y for positive.
template <class T>
__device__ __forceinline__ T sigmoid(T x)
{
    const T y = over_one_plus(exp(-magnitude(x)), T(0));
    return x < T(0) ? y : T(1) - y;
}

// tanh x = -m / (1 + m) with m = (e^-2|x| - 1) / 2, and the sign of x; m has no cancellation.
template <class T>
__device__ __forceinline__ T tanh(T x)
{
    T scale, q;
    exp_parts(T(-2) * magnitude(x), scale, q);
    const T half_q = q * T(0.5) * scale;
    const T rest = scale - T(0.5);
    const T m = half_q + rest;
    const T low = half_q + (rest - m);
    return copysign(over_one_plus(m, low), x);
}

// What Phi(-a) = e p / (a + 5) is made of: a = min(|x|, 39), u = a / (a + 5), p = P(2u - 1),
// e = e^(-a^2 / 2) with what the square loses.
template <class T>
__device__ __forceinline__ void normal_tail(T x, T& a, T& u, T& p, T& e)
{
    a = magnitude(x);
    a = a > T(39) ? T(39) : a;
    u = a / (a + T(5));
    p = normal_tail_polynomial(u + u - T(1));
    const T square = a * a;
    const T lost = fma(-a, a, square);
    e = exp(T(-0.5) * square, T(0.5) * lost);
}

// x Phi(x) = max(x, 0) - a Phi(-a), a = |x|: no cancellation.
template <class T>
__device__ __forceinline__ T gelu(T x)
{
    T a, u, p, e;
    normal_tail(x, a, u, p, e);
    return fma(-(u * p), e, x < T(0) ? T(0) : x);
}

// Phi(x) + x phi(x): d = Phi(-a) - a phi(a) for negative x, 1 - d for positive.
template <class T>
__device__ __forceinline__ T gelu_slope(T x)
{
    T a, u, p, e;
    normal_tail(x, a, u, p, e);
    const T d = e * fma(-a, T(0.3989422804014327), p * (T(1) - u) * T(0.2));
    return x < T(0) ? d : T(1) - d;
}

// a = min(|x|, 750); e^-a / (1 + e^-a).
template <class T>
__device__ __forceinline__ T sigmoid_tail(T x, T& a)
{
    a = magnitude(x);
    a = a > T(750) ? T(750) : a;
    return over_one_plus(exp(-a), T(0));
}

// x s(x) = max(x, 0) - a s(-a), a = |x|, s the sigmoid: no cancellation.
template <class T>
__device__ __forceinline__ T silu(T x)
{
    T a;
    const T q = sigmoid_tail(x, a);
    return fma(-a, q, x < T(0) ? T(0) : x);
}

// s + x s (1 - s), s = s(x): d = q (1 - a (1 - q)), q = s(-a), for negative x, 1 - d for positive.
template <class T>
__device__ __forceinline__ T silu_slope(T x)
{
    T a;
    const T q = sigmoid_tail(x, a);
    const T d = q * fma(-a, T(1) - q, T(1));
    return x < T(0) ? d : T(1) - d;
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|).
template <class T>
__device__ __forceinline__ T softplus(T x)
{
    const T f = exp(-magnitude(x));
    const T s = f / (f + T(2));
    const T z = s * s;
    return log1p_sum(f, log1p_polynomial(z) * z, s, T(0)) + (x < T(0) ? T(0) : x);
}

}  // namespace math
