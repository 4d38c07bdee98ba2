// The API's document inside envd, so that what is served is what this build was made from.
    .section .rodata
    .global api_openapi_start
    .global api_openapi_end
api_openapi_start:
    .incbin OPENAPI_FILE
api_openapi_end:
    .section .note.GNU-stack,"",@progbits
