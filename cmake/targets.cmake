# What every target of ours has in common: warnings, sanitizers, the include root, ccache where it is installed.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_CURRENT_LIST_DIR}/compile_with_ccache.sh;${CCACHE_PROGRAM}")
endif()

find_program(LLD_PROGRAM ld.lld)
if(LLD_PROGRAM)
  add_link_options(-fuse-ld=lld)
endif()

# Line numbers for profiles and stack traces; full debug information would take a third of the build's time.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")

if(THERMOCLINE_SANITIZE)
  add_compile_options(-fsanitize=${THERMOCLINE_SANITIZE} -fno-omit-frame-pointer -O1 -g1)
  add_link_options(-fsanitize=${THERMOCLINE_SANITIZE})
  if(THERMOCLINE_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()

# thermocline_target(NAME): the settings of hand-written code, for a target that exists.
function(thermocline_target name)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wpedantic -Wshadow=local -Wno-missing-field-initializers)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(${name} PRIVATE -Wthread-safety)
  else()
    # GCC 12 sees string overflows in its own headers (its bugs 105329 and 105651), and forgets that they are its own
    # when they are precompiled.
    target_compile_options(${name} PRIVATE -fpch-preprocess -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow)
  endif()
endfunction()

# thermocline_precompiled(NAME [HEADERS...]): what most files of the target include is read once, with those of
# HEADERS: a third to a half of the time of a build. Each file includes what it needs all the same.
function(thermocline_precompiled name)
  target_precompile_headers(${name} PRIVATE <algorithm> <chrono> <functional> <memory> <optional> <span> <string>
    <utility> <vector> <fmt/format.h> <absl/status/statusor.h> <absl/functional/any_invocable.h> ${ARGN})
endfunction()

# thermocline_test(NAME SOURCES... [LIBS...] [ARGS...]): one test program, known to CTest as NAME.
function(thermocline_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBS;ARGS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  thermocline_target(${name})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} thermocline_test_headers GTest::gtest_main)
  target_precompile_headers(${name} REUSE_FROM thermocline_test_headers)
  add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
  thermocline_test_environment(${name})
  if(THERMOCLINE_SANITIZE MATCHES "thread")
    add_dependencies(${name} thermocline_grpc_under_tsan)
  endif()
endfunction()

# thermocline_test_environment(NAME): what a test needs around it, one that thermocline_test has not made.
function(thermocline_test_environment name)
  if(THERMOCLINE_SANITIZE MATCHES "thread")
    # See tests/support/grpc_under_tsan.cc; servers that a test starts inherit this.
    set_property(TEST ${name} PROPERTY ENVIRONMENT
      "LD_PRELOAD=$<TARGET_FILE:thermocline_grpc_under_tsan>"
      "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/support/tsan.supp halt_on_error=1 second_deadlock_stack=1")
  endif()
endfunction()
