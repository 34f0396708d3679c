// The types of fdir, which tinyglobby brings, refer to this package's without depending on them.
declare module 'picomatch'
