// Writes argv[1] MiB of numbered lines as fast as it can, then "done".
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    long bytes = (argc > 1 ? atol(argv[1]) : 1) << 20;
    for (long n = 0, i = 0; n < bytes; i++)
        n += printf("line %ld of a program that has a lot to say and does not stop saying it\n", i);
    printf("done\n");
    return 0;
}
