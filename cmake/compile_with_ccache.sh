#!/bin/sh
# compile_with_ccache.sh CCACHE COMPILER ARGUMENTS...: but precompiled headers are compiled where they are used; one that
# another build left in the cache makes GCC crash. What includes them is cached (-fpch-preprocess, too, is for that).
ccache=$1
shift
case " $* " in
  *" c++-header "*) exec "$@" ;;
esac
CCACHE_SLOPPINESS=pch_defines,time_macros exec "$ccache" "$@"
