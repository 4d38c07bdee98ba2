# How tests are declared. Labels: unit (seconds, no rights), fuzz (replays the corpora), integ (root, KVM), lab (emulated
# hardware KVM), soak (long doses, only when asked for). A test that cannot run exits with 77 and says why: ctest counts it as skipped.
#
#   envd_unit_test(NAME [THREADED] SOURCES a.c LINK lib...)    cmocka; NAME becomes the executable and the ctest name
#                                                   unit/NAME. THREADED: run under TSan too (target threaded_tests)
#   envd_fuzz_target(NAME SOURCES a.c LINK lib...)  LLVMFuzzerTestOneInput; corpus in tests/fuzz/corpus/NAME
#   envd_integ_test(NAME SCRIPT f [LABELS ...] [TIMEOUT s])  runs a script with ENVD_BUILD set

add_custom_target(threaded_tests)

function(envd_unit_test name)
    cmake_parse_arguments(A "THREADED" "" "SOURCES;LINK" ${ARGN})
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET GLOBAL cmocka)
    add_executable(unit_${name} ${A_SOURCES})
    target_include_directories(unit_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
    target_link_libraries(unit_${name} PRIVATE envd_flavour_host ${A_LINK} PkgConfig::CMOCKA)
    set_target_properties(unit_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME unit/${name} COMMAND unit_${name})
    set_tests_properties(unit/${name} PROPERTIES LABELS unit TIMEOUT 240 SKIP_RETURN_CODE 77)
    if(A_THREADED)
        set_tests_properties(unit/${name} PROPERTIES LABELS "unit;threaded")
        add_dependencies(threaded_tests unit_${name})
    endif()
endfunction()

function(envd_fuzz_target name)
    cmake_parse_arguments(A "" "" "SOURCES;LINK" ${ARGN})
    if(ENVD_FUZZ)
        add_executable(fuzz_${name} ${A_SOURCES})
        target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    else()
        add_executable(fuzz_${name} ${A_SOURCES} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
    endif()
    target_link_libraries(fuzz_${name} PRIVATE envd_flavour_host ${A_LINK})
    set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    # libFuzzer replays a folder with -runs=0; replay.c takes the same arguments.
    add_test(NAME fuzz/${name} COMMAND fuzz_${name} -runs=0 ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
    set_tests_properties(fuzz/${name} PROPERTIES LABELS fuzz TIMEOUT 60)
endfunction()

function(envd_integ_test name)
    cmake_parse_arguments(A "" "SCRIPT;TIMEOUT" "LABELS" ${ARGN})
    if(NOT A_TIMEOUT)
        set(A_TIMEOUT 120)
    endif()
    if(NOT A_LABELS)
        set(A_LABELS integ)
    endif()
    add_test(NAME ${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/${A_SCRIPT})
    set_tests_properties(${name} PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT} SKIP_RETURN_CODE 77
        ENVIRONMENT "ENVD_LAB_CACHE=${CMAKE_SOURCE_DIR}/build/lab;ENVD_BUILD=${CMAKE_BINARY_DIR};ENVD_SOURCE=${CMAKE_SOURCE_DIR}")
endfunction()
