# Compile flavours. Code in proto/ and agent/core/ is built up to four times: for the host, for envvm (static), for static
# guest programs (musl) and for the freestanding cell kernel.
#
#   envd_library(NAME FLAVOURS host static guest cell INCLUDE dir SOURCES a.c b.c LINK other...)
#       makes NAME, NAME_static, NAME_guest, NAME_cell; a LINK of other becomes other, other_static, …
#   envd_host_executable(NAME SOURCES ... LINK ...)     hosted, sanitized when the preset asks
#   envd_static_executable(NAME SOURCES ... LINK ...)   the same, static (musl) when not sanitized
#   envd_guest_executable(NAME SOURCES ... LINK ...)    static, musl, never sanitized: it runs inside an environment

option(ENVD_WERROR "Warnings are errors" OFF)
option(ENVD_TESTS "Build the tests" ON)
option(ENVD_GUEST "Build what runs inside environments (needs gcc and musl-tools)" ON)
option(ENVD_FUZZ "Link fuzz targets with libFuzzer (needs clang)" OFF)
option(ENVD_COVERAGE "gcov counters in host code" OFF)
set(ENVD_SANITIZE "" CACHE STRING "Sanitizers for host code, e.g. address,undefined or thread")

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

find_package(PkgConfig REQUIRED)

set(ENVD_WARNINGS
    -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wundef -Wvla -Wformat=2
    -Wpointer-arith -Wwrite-strings -Wimplicit-fallthrough -Wcast-align -Wdouble-promotion)
if(ENVD_WERROR)
    list(APPEND ENVD_WARNINGS -Werror)
endif()

# Hosted code: POSIX and GNU, hardened, sanitized on request.
add_library(envd_flavour_host INTERFACE)
target_compile_definitions(envd_flavour_host INTERFACE _GNU_SOURCE)
target_compile_options(envd_flavour_host INTERFACE ${ENVD_WARNINGS} -fno-strict-aliasing -fstack-protector-strong)
if(ENVD_SANITIZE)
    target_compile_options(envd_flavour_host INTERFACE
        -fsanitize=${ENVD_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(envd_flavour_host INTERFACE -fsanitize=${ENVD_SANITIZE})
    if(ENVD_SANITIZE MATCHES thread AND CMAKE_C_COMPILER_ID STREQUAL GNU)
        # TSan does not see fences. Ours order what is shared with a guest, which TSan does not see either.
        target_compile_options(envd_flavour_host INTERFACE -Wno-tsan)
    endif()
elseif(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
    target_compile_options(envd_flavour_host INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(ENVD_COVERAGE)
    target_compile_options(envd_flavour_host INTERFACE --coverage)
    target_link_options(envd_flavour_host INTERFACE --coverage)
endif()
if(ENVD_FUZZ)
    target_compile_options(envd_flavour_host INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Static programs for guests: Debian's musl by its gcc specs, small and without a dynamic loader.
set(ENVD_MUSL_SPECS /usr/lib/x86_64-linux-musl/musl-gcc.specs CACHE FILEPATH "gcc specs of musl-tools")
if(ENVD_GUEST AND NOT EXISTS ${ENVD_MUSL_SPECS})
    message(FATAL_ERROR "musl-tools is missing (${ENVD_MUSL_SPECS}): run deploy/packages, or set ENVD_GUEST=OFF")
endif()
add_library(envd_flavour_guest INTERFACE)
target_compile_definitions(envd_flavour_guest INTERFACE _GNU_SOURCE)
target_compile_options(envd_flavour_guest INTERFACE
    ${ENVD_WARNINGS} -specs=${ENVD_MUSL_SPECS} -Os -g -fno-pie -ffunction-sections -fdata-sections -fno-strict-aliasing)
target_link_options(envd_flavour_guest INTERFACE -specs=${ENVD_MUSL_SPECS} -static -no-pie -Wl,--gc-sections)
# musl comes without Linux' headers, so those are linked to.
if(ENVD_GUEST)
    set(ENVD_LINUX_HEADERS ${CMAKE_BINARY_DIR}/linux-headers)
    file(MAKE_DIRECTORY ${ENVD_LINUX_HEADERS})
    file(CREATE_LINK /usr/include/linux ${ENVD_LINUX_HEADERS}/linux SYMBOLIC)
    file(CREATE_LINK /usr/include/asm-generic ${ENVD_LINUX_HEADERS}/asm-generic SYMBOLIC)
    file(CREATE_LINK /usr/include/x86_64-linux-gnu/asm ${ENVD_LINUX_HEADERS}/asm SYMBOLIC)
    target_include_directories(envd_flavour_guest SYSTEM INTERFACE ${ENVD_LINUX_HEADERS})
endif()

# envvm, which is executed in an empty root: static, position independent, musl. Where CPUID traps (every host that is
# itself a virtual machine) musl starts in a quarter of glibc's time, which asks the CPU for all it has first. Debian's
# specs know no static-pie, so the start files are named here.
if(ENVD_GUEST AND NOT ENVD_SANITIZE AND NOT ENVD_COVERAGE)
    set(ENVD_STATIC ON)
    set(ENVD_MUSL_LIB /usr/lib/x86_64-linux-musl)
    add_library(envd_flavour_static INTERFACE)
    target_compile_definitions(envd_flavour_static INTERFACE _GNU_SOURCE)
    target_include_directories(envd_flavour_static SYSTEM INTERFACE ${ENVD_LINUX_HEADERS})
    target_compile_options(envd_flavour_static INTERFACE
        ${ENVD_WARNINGS} -specs=${ENVD_MUSL_SPECS} -O2 -g -fPIE -ffunction-sections -fdata-sections
        -fno-strict-aliasing -fstack-protector-strong)
    target_link_options(envd_flavour_static INTERFACE
        -specs=${ENVD_MUSL_SPECS} -static -nostartfiles
        -Wl,-pie,--no-dynamic-linker,-z,text,-z,relro,-z,now,--gc-sections
        ${ENVD_MUSL_LIB}/rcrt1.o ${ENVD_MUSL_LIB}/crti.o ${ENVD_MUSL_LIB}/crtn.o)
endif()

# The cell kernel: no libc, no vector registers (a program's are live while the kernel runs), no red zone.
add_library(envd_flavour_cell INTERFACE)
target_compile_options(envd_flavour_cell INTERFACE
    ${ENVD_WARNINGS} -ffreestanding -fno-builtin -mgeneral-regs-only -mno-red-zone -fno-pie -fno-stack-protector
    -fno-asynchronous-unwind-tables -fno-strict-aliasing -fcf-protection=none -ffunction-sections -fdata-sections
    -O2 -g)
target_link_options(envd_flavour_cell INTERFACE -nostdlib -static -no-pie -Wl,--gc-sections -Wl,--build-id=none)

function(envd_library name)
    cmake_parse_arguments(A "" "INCLUDE" "FLAVOURS;SOURCES;LINK;PRIVATE_LINK" ${ARGN})
    foreach(flavour ${A_FLAVOURS})
        if(flavour STREQUAL "host")
            set(suffix "")
        elseif(NOT ENVD_GUEST OR (flavour STREQUAL "static" AND NOT ENVD_STATIC))
            continue()
        else()
            set(suffix "_${flavour}")
        endif()
        add_library(${name}${suffix} STATIC ${A_SOURCES})
        target_link_libraries(${name}${suffix} PRIVATE envd_flavour_${flavour})
        if(A_INCLUDE)
            target_include_directories(${name}${suffix} PUBLIC ${A_INCLUDE})
        endif()
        foreach(dep ${A_LINK})
            target_link_libraries(${name}${suffix} PUBLIC ${dep}${suffix})
        endforeach()
        if(A_PRIVATE_LINK)
            target_link_libraries(${name}${suffix} PRIVATE ${A_PRIVATE_LINK})
        endif()
    endforeach()
endfunction()

function(envd_host_executable name)
    cmake_parse_arguments(A "" "" "SOURCES;LINK" ${ARGN})
    add_executable(${name} ${A_SOURCES})
    target_link_libraries(${name} PRIVATE envd_flavour_host ${A_LINK})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

# Hosted too, but static where the flavour exists (not in sanitized and coverage builds); a LINK of other is other_static.
function(envd_static_executable name)
    cmake_parse_arguments(A "" "" "SOURCES;LINK" ${ARGN})
    if(NOT ENVD_STATIC)
        envd_host_executable(${name} SOURCES ${A_SOURCES} LINK ${A_LINK})
        return()
    endif()
    list(TRANSFORM A_LINK APPEND _static)
    add_executable(${name} ${A_SOURCES})
    target_link_libraries(${name} PRIVATE envd_flavour_static ${A_LINK})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

function(envd_guest_executable name)
    cmake_parse_arguments(A "" "OUTPUT" "SOURCES;LINK" ${ARGN})
    add_executable(${name} ${A_SOURCES})
    target_link_libraries(${name} PRIVATE envd_flavour_guest ${A_LINK})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/guest)
    if(A_OUTPUT)
        set_target_properties(${name} PROPERTIES OUTPUT_NAME ${A_OUTPUT})
    endif()
endfunction()
