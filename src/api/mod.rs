//! Wire types of `argoproj.io/v1alpha1`, exactly as clients send and read them. No behaviour beyond accessors.
