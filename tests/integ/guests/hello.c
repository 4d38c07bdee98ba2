// Shows what a program finds at its start: arguments, environment, auxiliary vector. Exits with argv[1].
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

int main(int argc, char **argv, char **envp)
{
    const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
    int n_set = 0;
    for (int i = 0; random && i < 16; i++)
        n_set += random[i] != 0;
    printf("hello\n");
    for (int i = 0; i < argc; i++)
        printf("argv[%d]=%s\n", i, argv[i]);
    for (char **e = envp; *e; e++)
        printf("env %s\n", *e);
    printf("page %lu, phdr %s, entry %s, random %s, secure %lu, execfn %s\n", getauxval(AT_PAGESZ),
           getauxval(AT_PHDR) ? "yes" : "no", getauxval(AT_ENTRY) ? "yes" : "no", n_set > 4 ? "yes" : "no",
           getauxval(AT_SECURE), (const char *)getauxval(AT_EXECFN));
    printf("stack aligned %d, stdin empty %d\n", (int)((size_t)__builtin_frame_address(0) % 16 == 0),
           (int)(read(0, &argc, 1) == 0));
    fprintf(stderr, "to stderr\n");
    return argc > 1 ? atoi(argv[1]) : 0;
}
